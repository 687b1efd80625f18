"""Signals of the server's processes."""

import signal
import sys


def stop_on_hangup() -> None:
    """
    Let SIGHUP stop this process as SIGTERM does, which finishes running answers first.

    Settings are read once, so there is nothing to reload. If SIGHUP is ignored, as under `nohup`, it stays
    ignored. Does nothing on Windows.
    """
    if sys.platform == "win32" or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
