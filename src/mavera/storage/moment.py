"""
The clock by which leases are measured.

    SQLite     this machine's, as the parameter `:now`: every process that shares the file runs here
    Postgres   the database's own, read by the statement: the clocks of its servers may differ

If each server used its own clock, one that is 90 seconds ahead would give back the credits of
every run on the others.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from mavera.storage.database import Database

Clock = Callable[[], float]

_POSTGRES_CLOCK = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS BIGINT)"


@dataclass(frozen=True, slots=True)
class Moment:
    """`sql` is the time in Unix seconds. Give each statement that contains it the value `now`."""

    sql: str
    clock: Clock

    @property
    def now(self) -> int:
        return int(self.clock())


def moment_of(database: Database, clock: Clock | None) -> Moment:
    """Return the clock of `database`'s leases; `clock` takes its place, on Postgres as well."""
    shared = clock is None and not database.is_file
    return Moment(_POSTGRES_CLOCK if shared else "CAST(:now AS BIGINT)", clock or time.time)
