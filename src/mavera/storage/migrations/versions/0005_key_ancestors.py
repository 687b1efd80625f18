"""
Which keys made a key: their ids, the operator's own first and the maker last, with spaces between them.

What a key spends counts against the budget of each of them too.
"""

from alembic import op
from sqlalchemy import Column, Text

revision = "0005_key_ancestors"
down_revision = "0004_tools"


def upgrade() -> None:
    op.add_column("api_keys", Column("ancestors", Text, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("api_keys", "ancestors")
