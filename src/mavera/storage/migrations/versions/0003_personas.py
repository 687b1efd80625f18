"""
Custom personas: one row each, and one for each version of what it says.

`mode` keeps the personas of test keys, which cost nothing, apart from those of live
keys. Of a deleted persona the versions go; its row stays a while, so that a cursor which
names it keeps its place. `usage` says which version answered, and for an answer of
several personas, which they were.
"""

from alembic import op
from sqlalchemy import BigInteger, Column, Text

revision = "0003_personas"
down_revision = "0002_credits"


def upgrade() -> None:
    op.create_table(
        "personas",
        Column("id", Text, primary_key=True),
        Column("workspace_id", Text, nullable=False),
        Column("mode", Text, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("name", Text, nullable=False),
        Column("category", Text, nullable=False),
        Column("credits_charged", BigInteger, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Column("deleted_at", BigInteger),
    )
    op.create_index("personas_by_workspace", "personas", ["workspace_id", "mode"])
    op.create_table(
        "persona_versions",
        Column("persona_id", Text, primary_key=True),
        Column("version", BigInteger, primary_key=True, autoincrement=False),
        Column("sheet", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
    )
    op.add_column("usage", Column("persona_version", BigInteger))
    op.add_column("usage", Column("personas", Text))


def downgrade() -> None:
    op.drop_column("usage", "personas")
    op.drop_column("usage", "persona_version")
    op.drop_table("persona_versions")
    op.drop_table("personas")
