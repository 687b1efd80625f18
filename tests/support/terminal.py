"""A command on a terminal of its own: typed keys in, the text of the screen out."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\]8;[^\x1b]*\x1b\\")
_SECONDS = 90  # a busy machine takes long to start a command


class Terminal:
    """`screen` is everything that was printed, without colours and movements of the cursor."""

    def __init__(self, leader: int, process: "subprocess.Popen[bytes]") -> None:
        self._leader = leader
        self.process = process
        self._printed = b""
        self._read = 0

    @property
    def screen(self) -> str:
        # A character or a code may arrive in two pieces, so all is read again.
        return _CODES.sub("", self._printed.decode(errors="replace")).replace("\r\n", "\n")

    def type(self, keys: str) -> None:
        os.write(self._leader, keys.encode())

    def wait_for(self, text: str) -> str:
        """Return what is printed from the last wait up to `text`."""
        while text not in (screen := self.screen)[self._read :]:
            assert self._receive(), f"no {text!r} in:\n{screen}"
        start, self._read = self._read, screen.index(text, self._read) + len(text)
        return screen[start : self._read]

    def press_until(self, keys: str, text: str) -> str:
        """Press `keys` until `text` is printed, as a person does, and return what is printed up to it."""
        for _ in range(_SECONDS):
            self.type(keys)
            while text not in self.screen[self._read :] and self._is_ready(1):
                assert self._receive(), f"no {text!r} in:\n{self.screen}"
            if text in self.screen[self._read :]:
                break
        return self.wait_for(text)

    def wait_for_end(self) -> int:
        """Return the exit code."""
        while self._receive():
            pass
        return self.process.wait(_SECONDS)

    def _receive(self) -> bool:
        try:
            data = os.read(self._leader, 65536) if self._is_ready(_SECONDS) else b""
        except OSError:  # Linux says so when the other side has closed
            data = b""
        self._printed += data
        return bool(data)

    def _is_ready(self, seconds: float) -> bool:
        return bool(select.select([self._leader], [], [], seconds)[0])


@contextmanager
def terminal(environment: dict[str, str], *arguments: str, columns: int = 80) -> Iterator[Terminal]:
    """Run `mavera` on a terminal of this width."""
    leader, follower = pty.openpty()
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in environment.items() if name != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mavera", *arguments],
        env={**environment, "TERM": "xterm"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(follower)
    try:
        yield Terminal(leader, process)
    finally:
        process.kill()
        process.wait()
        os.close(leader)
