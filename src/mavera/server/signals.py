"""What signals mean to the server's processes."""

import signal
import sys


def stop_on_hangup() -> None:
    """
    Let SIGHUP stop this process as SIGTERM does: running answers are finished first.

    Settings are read once, so there is nothing to reload. A hangup that is ignored, as `nohup` has it, stays
    ignored. Does nothing on Windows.
    """
    if sys.platform == "win32" or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
