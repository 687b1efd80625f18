"""
The connections of DBOS to Postgres, made by us so that they are counted, and leave a server that was demoted.

    at most ten          what `storage/postgres_checks.py` counts for them
    five minutes         then a connection is made anew, as in `storage/postgres.py`
    25006, read-only     this server is no longer the primary: all connections are left, and DBOS tries again
"""

from sqlalchemy import Engine, ExceptionContext, create_engine, event, make_url

from mavera.settings import Settings
from mavera.storage.faults import READ_ONLY
from mavera.storage.postgres import RECYCLE_SECONDS, limit_idle_transactions

LASTING, MORE = 5, 5
WAIT_SECONDS = 10
IDLE_TRANSACTION_SECONDS = 60


def make_postgres_engine(settings: Settings) -> Engine:
    """Return an engine for psycopg on the database of `settings`. The caller disposes of it."""
    url = make_url(settings.database_url).set(drivername="postgresql+psycopg")
    if "ssl" in url.query:  # asyncpg's name of it
        mode = url.query["ssl"]
        url = url.difference_update_query(["ssl"]).update_query_dict({"sslmode": mode})
    engine = create_engine(
        url,
        pool_size=LASTING,
        max_overflow=MORE,
        pool_timeout=30,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_SECONDS,
        connect_args={"connect_timeout": WAIT_SECONDS, "application_name": "mavera-studies"},
    )
    limit_idle_transactions(engine, IDLE_TRANSACTION_SECONDS)
    event.listen(engine, "handle_error", _leave_standby)
    return engine


def _leave_standby(context: ExceptionContext) -> None:
    """Treat a server that takes no writes as one that has gone: SQLAlchemy then empties the pool."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True
