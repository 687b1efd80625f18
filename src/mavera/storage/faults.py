"""
Turn the errors of the databases' drivers into errors of the API.

    away, full, damaged, read-only, locked   →  ServiceUnavailable, with the seconds until a retry can help
    a row that already exists                →  Conflict
    anything else is a mistake of ours       →  APIError
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from mavera.errors import APIError, ServiceUnavailable

# Classes of Postgres's error states. A retry can succeed after a busy one (a deadlock, a lock). The others
# mean that Postgres cannot serve now: no connection, no resources, an operator's stop, a system fault.
_POSTGRES_BUSY = frozenset({"40", "55"})
_POSTGRES_AWAY = frozenset({"08", "53", "57", "58"})
_DISK_FULL, READ_ONLY = "53100", "25006"
# Postgres ended a transaction of ours, because this process was stopped in it for long.
_IDLE_TRANSACTION = "25P03"
# These errors occur if an empty database, or one of another program, has replaced ours.
_POSTGRES_LACKS = frozenset({"42P01", "42703", "3F000"})
_SQLITE_LACKS = ("no such table", "no such column", "table ")
# `moving/closing.py` makes triggers that raise these. The class of the state is an operator's stop, so that
# servers of earlier releases answer 503, too.
CLOSED, CLOSED_STATE = "mavera closed this database to writers", "57M01"


class Conflict(APIError):
    """A row breaks a rule of its table, most often because it exists already."""


@contextmanager
def storage_errors(*, connecting: bool = False) -> Iterator[None]:
    """Turn errors of the database libraries into ours."""
    try:
        yield
    except PoolTimeoutError as error:
        raise make_busy_error() from error
    except SQLAlchemyError as error:
        public = _from_sqlalchemy(error)
        # Before there is a connection, none of our statements has run, so the mistake is not in our SQL.
        raise (_make_unreachable_error() if connecting and type(public) is APIError else public) from error
    except sqlite3.Error as error:
        raise _from_sqlite(error) from error
    except OSError as error:
        # asyncpg passes errors of its socket on.
        raise _make_unreachable_error() from error
    except (OverflowError, UnicodeError) as error:
        # sqlite3 raises these before it calls SQLite: for a number beyond 64 bits, and for half a character.
        raise _make_statement_error() from error


def _from_sqlalchemy(error: SQLAlchemyError) -> APIError:
    if not isinstance(error, DBAPIError):
        return _make_statement_error()
    if isinstance(error, IntegrityError):
        return _from_broken_rule(str(error.orig))
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return _from_sqlite_code(code, str(error.orig))
    state = getattr(error.orig, "sqlstate", None) or ""
    if state == CLOSED_STATE:
        return _make_closed_error()
    if state == _DISK_FULL:
        return _make_full_error()
    if state in _POSTGRES_LACKS:
        return _make_schema_error()
    if state[:2] in _POSTGRES_BUSY:
        return make_busy_error()
    if state == READ_ONLY:
        return _make_read_only_error()
    if state[:2] in _POSTGRES_AWAY or state == _IDLE_TRANSACTION:
        return _make_unreachable_error()
    if isinstance(error.orig and error.orig.__cause__, ValueError):
        return _make_statement_error()  # asyncpg raises it for a value that does not fit its column
    away = isinstance(error, OperationalError | InterfaceError)
    return _make_unreachable_error() if away or error.connection_invalidated else _make_statement_error()


def _from_sqlite(error: sqlite3.Error) -> APIError:
    """Convert an error of the driver as `_from_sqlalchemy` converts one that SQLAlchemy wraps."""
    if isinstance(error, sqlite3.IntegrityError):
        return _from_broken_rule(str(error))
    return _from_sqlite_code(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR), str(error))


def _from_sqlite_code(code: int, message: str) -> APIError:
    # The low byte is the kind of SQLite's error. The rest gives details.
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return make_busy_error()
        case sqlite3.SQLITE_FULL:
            return _make_full_error()
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_FORMAT:
            return _make_lasting_error("The database file is damaged, or is not a SQLite database.")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return _make_lasting_error("The database file cannot be opened.")
        case sqlite3.SQLITE_READONLY:
            return _make_lasting_error("The database file cannot be written.")
        case sqlite3.SQLITE_IOERR:
            return _make_lasting_error("The database's disk failed.")
        case sqlite3.SQLITE_ERROR if message.startswith(_SQLITE_LACKS):
            return _make_schema_error()
        case sqlite3.SQLITE_ERROR | sqlite3.SQLITE_MISUSE | sqlite3.SQLITE_RANGE | sqlite3.SQLITE_TOOBIG:
            return _make_statement_error()
        case _:
            return _make_unreachable_error()


def _make_full_error() -> ServiceUnavailable:
    return ServiceUnavailable("The database's disk is full. The operator has to make room.", retry_after=30)


def _make_lasting_error(fault: str) -> ServiceUnavailable:
    """Return the error for a fault that lasts until the operator repairs it."""
    return ServiceUnavailable(f"{fault} The operator has to repair or restore it.", retry_after=30)


def _make_schema_error() -> ServiceUnavailable:
    return _make_lasting_error("The database lacks tables or columns that this mavera needs.")


def _from_broken_rule(message: str) -> APIError:
    return _make_closed_error() if CLOSED in message else _make_conflict()


def _make_closed_error() -> ServiceUnavailable:
    return ServiceUnavailable("The database is closed, because its data is being moved.", retry_after=30)


def _make_conflict() -> Conflict:
    return Conflict("The database has such a row already.")


def make_busy_error() -> ServiceUnavailable:
    return ServiceUnavailable("The database is busy. Retry in a second.", retry_after=1)


def _make_unreachable_error() -> ServiceUnavailable:
    return ServiceUnavailable("The database cannot be reached. Retry in a few seconds.", retry_after=5)


def _make_read_only_error() -> ServiceUnavailable:
    return ServiceUnavailable(
        "The database is read-only, as after a failover. Retry in a few seconds.", retry_after=5
    )


def _make_statement_error() -> APIError:
    return APIError("The database refused a statement.")
