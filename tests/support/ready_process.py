"""
Run commands in processes that have loaded mavera already.

A command of its own process spends most of its time on loading libraries. Here one process loads all of
them, and forks for each command. The fork has its own arguments, environment, folder, input and output,
and it ends as any process does. Only the loading is shared, so tests of the loading run a real
`python -m mavera`.

    this process  ──(arguments, environment, folder, three descriptors)──▶  ready process
                  ◀──(process id, then exit code)──                             └─ fork: the command
"""

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

_ENDING_SECONDS = 30


class ReadyProcess:
    """The process that loads and forks. It ends when this one closes it, or ends."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tests.support.ready_process", str(theirs.fileno())]
            environ = {name: value for name, value in os.environ.items() if not name.startswith("MAVERA_")}
            self._process = subprocess.Popen(
                command, env=environ, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )

    def run(
        self, arguments: list[str], environ: dict[str, str], stdin: str, *, seconds: float
    ) -> "subprocess.CompletedProcess[str]":
        """
        Run `mavera` with `arguments` to its end.

        Raises:
            subprocess.TimeoutExpired: it did not end within `seconds`, and was killed.
        """
        ours, theirs = socket.socketpair()
        with ours, TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
            given.write(stdin.encode())
            given.seek(0)
            with theirs:
                descriptors = [theirs.fileno(), given.fileno(), out.fileno(), err.fileno()]
                socket.send_fds(self._ours, [b"."], descriptors)
            request = json.dumps({"arguments": arguments, "environ": environ, "folder": str(Path.cwd())})
            with ours.makefile("rw", encoding="utf-8") as lines:
                lines.write(request + "\n")
                lines.flush()
                process_id = int(lines.readline())
                ours.settimeout(seconds)
                try:
                    code = int(lines.readline())
                except TimeoutError:
                    os.kill(process_id, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(arguments, seconds) from None
            return subprocess.CompletedProcess(arguments, code, _read(out), _read(err))

    def close(self) -> None:
        self._ours.close()
        self._process.wait(_ENDING_SECONDS)


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


def _serve_commands(requests: socket.socket) -> None:
    """Fork for each request. Returns in the process of a command alone, which runs it."""
    while True:
        _, descriptors, _, _ = socket.recv_fds(requests, 1, 4)
        _reap()
        if not descriptors:
            sys.exit()
        if os.fork() == 0:
            requests.close()
            with socket.socket(fileno=descriptors[0]) as answers:
                become_command = _fork_command(answers, descriptors[1:])
            if become_command:
                return
        for descriptor in descriptors:
            os.close(descriptor)


def _reap() -> None:
    """Let the ended processes go, so that their processor time is counted with this one's."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass


def _fork_command(answers: socket.socket, streams: list[int]) -> bool:
    """Return true in the command's own process; its parent reports how it ends, and ends itself."""
    with answers.makefile("rw", encoding="utf-8") as lines:
        request = json.loads(lines.readline())
        child = os.fork()
        if child == 0:
            _become(request, streams)
            return True
        lines.write(f"{child}\n")
        lines.flush()
        _, status = os.waitpid(child, 0)
        lines.write(f"{os.waitstatus_to_exitcode(status)}\n")
        lines.flush()
    os._exit(0)


def _become(request: dict[str, Any], streams: list[int]) -> None:
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["folder"])
    sys.argv = ["mavera", *request["arguments"]]
    # sys.stdin, sys.stdout and sys.stderr have read and written nothing yet, and use these numbers.
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> None:
    # A Ctrl-C in the terminal is for pytest, which then closes this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    commands = importlib.import_module("mavera.cli.main").COMMANDS
    for module, _ in commands.values():
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        _serve_commands(requests)
    runpy.run_module("mavera", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
