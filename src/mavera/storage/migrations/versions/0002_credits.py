"""
Plans and credits: what a workspace may use, what it has, and what became of it.

    ledger        every change of a balance, never changed itself; its sum is the balance
    reservations  what runs in flight hold; gone when they end, refunded when their lease does
    usage         one row for each run that was admitted
    alerts        budgets that came near their end
    idempotency   first answers, for those who ask twice

Months are written as 202611, times as Unix seconds. Each run writes three of these
tables, so they have as few indexes and foreign keys as their reading allows.
"""

from alembic import op
from sqlalchemy import BigInteger, Column, Index, Integer, Text

revision = "0002_credits"
down_revision = "0001_workspaces_and_keys"

_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows of INTEGER keys only
_SPENDING = ("budget", "spent", "spent_month", "alerted_percent")
_WORKSPACE = (
    "requests_per_minute",
    "requests_per_day",
    "concurrent_runs",
    "monthly_credits",
    "unlimited",
    "balance",
    "granted_month",
)


def upgrade() -> None:
    for name in ("requests_per_minute", "requests_per_day", "concurrent_runs", "monthly_credits"):
        op.add_column("workspaces", Column(name, BigInteger))
    for name in ("unlimited", "balance", "granted_month"):
        op.add_column("workspaces", Column(name, BigInteger, nullable=False, server_default="0"))
    op.execute("UPDATE workspaces SET unlimited = 1 WHERE plan = 'enterprise'")
    for table in ("workspaces", "api_keys"):
        op.add_column(table, Column("budget", BigInteger))
        for name in _SPENDING[1:]:
            op.add_column(table, Column(name, BigInteger, nullable=False, server_default="0"))
    scopes = "responses personas:read personas:write focus_groups usage:read"
    op.add_column("api_keys", Column("scopes", Text, nullable=False, server_default=scopes))
    _create_ledger()
    _create_usage()
    _create_records()


def _create_ledger() -> None:
    op.create_table(
        "ledger",
        Column("id", _NUMBER, primary_key=True, autoincrement=True),
        Column("workspace_id", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("reference", Text, nullable=False),
        Column("credits", BigInteger, nullable=False),
        Column("key_id", Text),
        Column("note", Text),
        Column("created_at", BigInteger, nullable=False),
        Index("ledger_once", "reference", "kind", unique=True),
    )
    op.create_table(
        "reservations",
        Column("run_id", Text, primary_key=True),
        Column("workspace_id", Text, nullable=False),
        Column("key_id", Text, nullable=False),
        Column("credits", BigInteger, nullable=False),
        Column("month", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_usage() -> None:
    op.create_table(
        "usage",
        Column("workspace_id", Text, primary_key=True),
        Column("created_at", BigInteger, primary_key=True, autoincrement=False),
        Column("run_id", Text, primary_key=True),
        Column("key_id", Text, nullable=False),
        Column("persona_id", Text),
        Column("status", Text, nullable=False),
        Column("input_tokens", BigInteger, nullable=False),
        Column("output_tokens", BigInteger, nullable=False),
        Column("credits", BigInteger, nullable=False),
        Column("milliseconds", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _create_records() -> None:
    op.create_table(
        "alerts",
        Column("subject_id", Text, primary_key=True),
        Column("month", BigInteger, primary_key=True, autoincrement=False),
        Column("percent", BigInteger, primary_key=True, autoincrement=False),
        Column("workspace_id", Text, nullable=False),
        Column("budget", BigInteger, nullable=False),
        Column("spent", BigInteger, nullable=False),
        Column("created_at", BigInteger, nullable=False),
    )
    op.create_table(
        "idempotency",
        Column("key_id", Text, primary_key=True),
        Column("name", Text, primary_key=True),
        Column("request_digest", Text, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
        Column("content_type", Text),
        Column("body", Text),
    )


def downgrade() -> None:
    for table in ("idempotency", "alerts", "usage", "reservations", "ledger"):
        op.drop_table(table)
    op.drop_column("api_keys", "scopes")
    for table in ("workspaces", "api_keys"):
        for name in _SPENDING:
            op.drop_column(table, name)
    for name in _WORKSPACE:
        op.drop_column("workspaces", name)
