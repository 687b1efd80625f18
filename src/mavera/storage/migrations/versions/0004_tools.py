"""
The server's own tools: who may use which, what was called, what was made.

    workspaces.tools   the names a workspace may use, with spaces between; null for all
    tool_calls         one row for each call
    media              images and videos that tools made, and the jobs that make them
"""

from alembic import op
from sqlalchemy import BigInteger, Column, Index, Text

revision = "0004_tools"
down_revision = "0003_personas"


def upgrade() -> None:
    op.add_column("workspaces", Column("tools", Text))
    op.create_table(
        "tool_calls",
        Column("id", Text, primary_key=True),
        Column("workspace_id", Text, nullable=False),
        Column("key_id", Text, nullable=False),
        Column("run_id", Text, nullable=False),
        Column("tool", Text, nullable=False),
        Column("provider", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("milliseconds", BigInteger, nullable=False),
        Column("characters", BigInteger, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Index("tool_calls_newest", "workspace_id", "created_at"),
    )
    op.create_table(
        "media",
        Column("id", Text, primary_key=True),
        Column("workspace_id", Text, nullable=False),
        Column("tool", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("progress", BigInteger, nullable=False),
        Column("provider_id", Text),
        Column("content_type", Text),
        Column("bytes", BigInteger),
        Column("error", Text),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Column("completed_at", BigInteger),
        Index("media_unfinished", "status", "updated_at"),
    )


def downgrade() -> None:
    op.drop_table("media")
    op.drop_table("tool_calls")
    op.drop_column("workspaces", "tools")
