"""
Reservations say who owns them, and the database says which servers may still use it.

    reservations.owner_kind   run, and later study and block: the last two outlive every process
    reservations.owner_id     the run's id, or that of the study or block
    reservations.process_id   the process that renews the lease; null where no lease is renewed
    reservations.created_at   Unix seconds; null in rows of servers that do not know the column
    schema_state              one row: the oldest migration whose servers may still run on these
                              tables, the release that brought it, and when a server last tried
                              to write (GET /health/ready)

Everything here is added, so servers that know only 0004_tools go on working.
"""

from alembic import op
from sqlalchemy import BigInteger, Column, Text

revision = "0006_owners"
down_revision = "0005_key_ancestors"


def upgrade() -> None:
    op.add_column("reservations", Column("created_at", BigInteger))
    op.add_column("reservations", Column("owner_kind", Text, nullable=False, server_default="run"))
    op.add_column("reservations", Column("owner_id", Text))
    op.add_column("reservations", Column("process_id", Text))
    op.create_table(
        "schema_state",
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("lowest_schema", Text, nullable=False),
        Column("lowest_version", Text, nullable=False),
        Column("probed_at", BigInteger, nullable=False, server_default="0"),
    )
    op.execute(
        "INSERT INTO schema_state (id, lowest_schema, lowest_version) VALUES (1, '0004_tools', '0.1.0')"
    )


def downgrade() -> None:
    op.drop_table("schema_state")
    for name in ("process_id", "owner_id", "owner_kind", "created_at"):
        op.drop_column("reservations", name)
