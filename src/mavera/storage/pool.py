"""
Define the interface that the pools of SQLite and Postgres share.

    lend()    a connection for one statement, or for the statements of one transaction
    batch()   one transaction for a function of many statements, which would each hop to the driver and back

The errors of a connection are those of its driver. `faults.py` turns them into ours.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

from mavera.core.finish import finish
from mavera.storage.faults import storage_errors
from mavera.storage.rows import Row

T = TypeVar("T")


class Statements(Protocol):
    """The statements of one transaction. It is committed when the function that got it returns."""

    def fetch_all(self, sql: str, values: Row, /) -> list[Row]: ...

    def execute(self, sql: str, values: Row, /) -> int:
        """Return the number of rows changed."""
        ...

    def execute_many(self, sql: str, rows: Sequence[Row], /) -> None: ...

    def insert(self, into: str, rows: Sequence[tuple[Any, ...]], /) -> None:
        """Add `rows` to `into`, a table and its columns such as `usage (run_id, …)`."""
        ...


class Connection(Protocol):
    """A connection in autocommit, until `begin`. After an error, a transaction can only be rolled back."""

    async def fetch_all(self, sql: str, values: Row, /) -> list[Row]: ...

    async def execute(self, sql: str, values: Row, /) -> int:
        """Return the number of rows changed."""
        ...

    async def execute_many(self, sql: str, rows: Sequence[Row], /) -> None: ...

    async def begin(self) -> None: ...

    async def commit(self) -> None: ...

    async def roll_back(self) -> None:
        """Undo what was begun. Never fails."""
        ...


class Pool(Protocol):
    def lend(self) -> AbstractAsyncContextManager[Connection]: ...

    async def batch(self, function: Callable[[Statements], T], *, durable: bool) -> T: ...

    async def close(self) -> None: ...


@asynccontextmanager
async def run_transaction(connection: Connection) -> AsyncIterator[None]:
    """Commit when the block ends, roll back when it raises or is cancelled."""
    try:
        with storage_errors():
            await connection.begin()
        yield
        with storage_errors():
            await connection.commit()
    except BaseException:
        # Even if the task is cancelled again, the pool must not get an open transaction.
        await finish(connection.roll_back())
        raise
