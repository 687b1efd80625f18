"""
The open connections of one process, with limits on their number and their memory.

    Connections    counts connections by address, refuses those beyond the caps, sweeps once a second
    Connection     the interface for the sweep, which the protocol classes implement
    Holding        the bytes that the messages of one connection take while they arrive and wait

A connection notes the time of its last change by the sweep's clock, `now`, and the sweep closes it when
its time is over. So no request starts a timer or reads a clock, and a deadline is exact to a second or two.
"""

import asyncio
import ipaddress
from dataclasses import dataclass
from typing import Protocol

import structlog

from mavera.api.http.drain import Drain
from mavera.errors import APIError, RateLimitExceeded, ServiceUnavailable
from mavera.metrics import Metrics
from mavera.server.descriptors import count_descriptors, descriptor_limit
from mavera.server.memory import return_freed_memory
from mavera.settings import Settings

SWEEP_SECONDS = 1.0
DESCRIPTOR_SWEEPS = 10
MEMORY_SWEEPS = 60
# Each connection may always hold this much, so no usual request fails because another client holds much.
FREE_BYTES = 64 * 1024
# So many refused connections get a response with the reason. Further ones are closed without a response.
MAX_REFUSED = 32
# If more than this share of the connections is in use, idle ones are closed after `PRESSED_SECONDS`.
PRESSED_SHARE, PRESSED_SECONDS = 0.8, 2.0
LOW_SHARE = 0.8

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits in force for one process: counts, bytes and seconds."""

    connections: int
    per_address: int
    receiving_bytes: int
    head_bytes: int
    head_fields: int
    head_seconds: float
    body_seconds: float
    write_seconds: float
    keep_alive_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> "ConnectionLimits":
        connections = settings.max_connections
        descriptors = descriptor_limit()
        if descriptors is not None and connections > descriptors // 2:
            # The other half is for connections to models and providers, for the database and for files.
            connections = max(descriptors // 2, 1)
            log.warning("connections_capped", connections=connections, descriptors=descriptors)
        return cls(
            connections=connections,
            per_address=min(settings.max_connections_per_address, connections) or max(connections // 2, 1),
            receiving_bytes=max(settings.max_receiving_bytes, 2 * settings.max_body_bytes),
            head_bytes=settings.max_head_bytes,
            head_fields=settings.max_head_fields,
            head_seconds=settings.head_timeout_seconds,
            body_seconds=settings.body_timeout_seconds,
            write_seconds=settings.write_timeout_seconds,
            keep_alive_seconds=settings.keep_alive_seconds,
        )


class Connection(Protocol):
    """A connection for the sweep."""

    def check_deadline(self, now: float, *, pressed: bool) -> None:
        """Close the connection if its time is over. `pressed` is true if connections are running out."""

    def drop(self) -> None:
        """Close the connection at once."""


class _Address:
    """The connections of one address, and the bytes that they hold."""

    __slots__ = ("connections", "key", "receiving")

    def __init__(self, key: str) -> None:
        self.key = key
        self.connections = self.receiving = 0


class Holding:
    """
    The bytes that one connection holds: those that arrive, and those that its application keeps.

    The first `FREE_BYTES` are free. The rest counts towards the limits of the address and of all connections.
    """

    __slots__ = ("_address", "_connections", "_size")

    def __init__(self, connections: "Connections", address: _Address) -> None:
        self._connections = connections
        self._address = address
        self._size = 0

    def take(self, size: int) -> bool:
        """Add `size` bytes and return True, or add nothing and return False if there is no room."""
        extra = max(0, self._size + size - FREE_BYTES) - max(0, self._size - FREE_BYTES)
        if not self._connections.take_bytes(self._address, extra):
            return False
        self._size += size
        return True

    def give(self, size: int) -> None:
        """Give `size` bytes back."""
        extra = max(0, self._size - FREE_BYTES) - max(0, self._size - size - FREE_BYTES)
        self._connections.give_bytes(self._address, extra)
        self._size -= size


class Connections:
    """`drain` says whether this process is about to stop."""

    def __init__(self, limits: ConnectionLimits, metrics: Metrics, drain: Drain | None = None) -> None:
        self.limits = limits
        self.drain = drain or Drain()
        self.now = 0.0
        self._metrics = metrics
        self._open: dict[Connection, _Address | None] = {}
        self._addresses: dict[str, _Address] = {}
        self._admitted = self._receiving = self._sweeps = 0
        self._timer: asyncio.TimerHandle | None = None
        self._refused_since_sweep = 0
        self._descriptors_low = self._paused = False

    def admit(self, connection: Connection, host: str | None) -> APIError | None:
        """
        Count a new connection and return None, or return the error with which to refuse it.

        The sweep includes refused connections, so they must `leave`, too.
        """
        self._start()
        address = self._address_of(host)
        error: APIError | None = None
        if self._admitted >= self.limits.connections:
            error, reason = ServiceUnavailable("The server has no free connection.", retry_after=5), "total"
        elif address.connections >= self.limits.per_address:
            error = RateLimitExceeded("Your address has the maximum number of connections.", retry_after=5)
            reason = "address"
        if error is None:
            self.join(connection, host)
            return None
        self._metrics.connections_refused[reason] += 1
        self._refused_since_sweep += 1
        self._forget(address)
        self._open[connection] = None
        if len(self._open) - self._admitted > MAX_REFUSED:
            connection.drop()
        return error

    def join(self, connection: Connection, host: str | None) -> Holding:
        """Count a connection that replaces an admitted one, and return its holding."""
        address = self._address_of(host)
        address.connections += 1
        self._admitted += 1
        self._metrics.connections.value = self._admitted
        self._open[connection] = address
        return Holding(self, address)

    def holding_of(self, connection: Connection) -> Holding:
        """Return a new holding for an admitted connection."""
        address = self._open[connection]
        assert address is not None  # noqa: S101 - a refused connection receives nothing
        return Holding(self, address)

    def leave(self, connection: Connection) -> None:
        """Stop counting a connection. A second call does nothing."""
        address = self._open.pop(connection, None)
        if address is None:
            return
        address.connections -= 1
        self._admitted -= 1
        self._metrics.connections.value = self._admitted
        self._forget(address)

    def note_timeout(self, phase: str) -> None:
        self._metrics.connections_timed_out[phase] += 1

    def take_bytes(self, address: _Address, size: int) -> bool:
        limit = self.limits.receiving_bytes
        if size and (self._receiving + size > limit or address.receiving + size > limit // 2):
            return False
        self._receiving += size
        address.receiving += size
        return True

    def give_bytes(self, address: _Address, size: int) -> None:
        self._receiving -= size
        address.receiving -= size
        self._forget(address)

    def _address_of(self, host: str | None) -> _Address:
        key = _network_of(host)
        address = self._addresses.get(key)
        if address is None:
            address = self._addresses[key] = _Address(key)
        return address

    def _forget(self, address: _Address) -> None:
        if not address.connections and not address.receiving:
            self._addresses.pop(address.key, None)

    def _start(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self.now = loop.time()
            self._timer = loop.call_later(SWEEP_SECONDS, self._sweep, loop)
            self._check_descriptors()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(SWEEP_SECONDS, self._sweep, loop)
        last, self.now = self.now, loop.time()
        # After a pause of the whole process, skip one sweep, so that waiting data is read first.
        self._paused = self.now - last > 3 * SWEEP_SECONDS and not self._paused
        if not self._paused:
            pressed = self._admitted > PRESSED_SHARE * self.limits.connections
            for connection in list(self._open):
                connection.check_deadline(self.now, pressed=pressed)
        if self._refused_since_sweep:
            log.warning("connections_refused", refused=self._refused_since_sweep, open=self._admitted)
            self._refused_since_sweep = 0
        self._sweeps += 1
        if self._sweeps % DESCRIPTOR_SWEEPS == 0:
            self._check_descriptors()
        if self._sweeps % MEMORY_SWEEPS == 0:
            return_freed_memory()

    def _check_descriptors(self) -> None:
        """Log once when file descriptors run low, and again only after there were enough."""
        limit, used = descriptor_limit(), count_descriptors()
        if limit is None or used is None:
            return
        low = used > LOW_SHARE * limit
        if low and not self._descriptors_low:
            log.error("descriptors_low", open=used, limit=limit, connections=self._admitted)
        self._descriptors_low = low
        self._metrics.descriptors_low.value = int(low)
        self._metrics.descriptors_open.value = used


def _network_of(host: str | None) -> str:
    """Return the unit that counts as one address: an IPv4 address, or the /64 network of an IPv6 address."""
    if host is None or ":" not in host:
        return host or ""
    address = ipaddress.IPv6Address(host.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{int(address) >> 64:x}::/64"
