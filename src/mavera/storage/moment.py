"""
The clock that measures leases.

    SQLite     this machine's clock, as the parameter `:now`, because all processes run on this machine
    Postgres   the database's clock, read by the statement, because the servers' clocks may differ

If each server used its own clock, a server that is 90 seconds ahead would refund the credits of every run
on the others.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mavera.storage.database import Database

Clock = Callable[[], float]

_POSTGRES_CLOCK = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS BIGINT)"


@dataclass(frozen=True, slots=True)
class Moment:
    """`sql` is an expression for the time in Unix seconds. A statement with it needs the value `now`."""

    sql: str
    clock: Clock

    @property
    def now(self) -> int:
        return int(self.clock())


def moment_of(database: Database, clock: Clock | None) -> Moment:
    """Return the clock for the leases of `database`. A given `clock` replaces it, even on Postgres."""
    shared = clock is None and not database.is_file
    return Moment(_POSTGRES_CLOCK if shared else "CAST(:now AS BIGINT)", clock or database.clock)
