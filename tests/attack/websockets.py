"""WebSocket bytes that no client library sends: openings, and frames by their parts."""

import base64
import os
import struct

from tests.attack.wire import RawConnection, request_bytes

TEXT, BINARY, CLOSE, PING, CONTINUATION = 0x1, 0x2, 0x8, 0x9, 0x0
PATH = "/api/v1/responses"


def opening_bytes(key: str, *headers: str) -> bytes:
    """Return the request that opens a WebSocket to /responses. `headers` are whole lines."""
    nonce = base64.b64encode(os.urandom(16)).decode()
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
    return request_bytes("GET", PATH, key=key, headers=(*upgrade, f"Sec-WebSocket-Key: {nonce}", *headers))


def open_websocket(connection: RawConnection, key: str) -> None:
    connection.send(opening_bytes(key))
    answer = connection.receive() or b""
    assert answer.startswith(b"HTTP/1.1 101"), answer


def frame_head(length: int, opcode: int = TEXT, *, fin: bool = True) -> bytes:
    """Return the head of a masked frame, whose mask changes nothing."""
    first = bytes([(0x80 if fin else 0) | opcode])
    if length < 126:
        size = bytes([0x80 | length])
    elif length < 65536:
        size = b"\xfe" + struct.pack("!H", length)
    else:
        size = b"\xff" + struct.pack("!Q", length)
    return first + size + b"\0\0\0\0"


def frame(payload: bytes = b"", opcode: int = TEXT, *, fin: bool = True) -> bytes:
    return frame_head(len(payload), opcode, fin=fin) + payload
