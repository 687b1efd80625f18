"""
Workspaces, their API keys, and what has been done once and for all.

Times are Unix seconds. A key's text is not here, only its SHA-256 in hex.
"""

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Text

revision = "0001_workspaces_and_keys"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "workspaces",
        Column("id", Text, primary_key=True),
        Column("name", Text, nullable=False),
        Column("plan", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
    )
    op.create_table(
        "api_keys",
        Column("id", Text, primary_key=True),
        Column("workspace_id", Text, ForeignKey("workspaces.id"), nullable=False),
        Column("name", Text, nullable=False),
        Column("digest", Text, nullable=False, unique=True),
        Column("mode", Text, nullable=False),
        Column("last_four", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("revoked_at", BigInteger),
        Column("expires_at", BigInteger),
        Column("last_used_at", BigInteger),
    )
    op.create_index("api_keys_by_workspace", "api_keys", ["workspace_id", "created_at"])
    op.create_table(
        "milestones",
        Column("name", Text, primary_key=True),
        Column("reached_at", BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("milestones")
    op.drop_table("api_keys")
    op.drop_table("workspaces")
