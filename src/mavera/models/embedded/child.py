"""
Run llama.cpp's server on a port of 127.0.0.1, as a process that lives as long as its parent.

    stdin    one line of EngineParameters, then open; its end means that the parent is gone
    stdout   one line of EngineReport, then closed
    stderr   llama.cpp's log

Two mechanisms notice the death of the parent, because each has a gap. While a model loads, the engine
holds the interpreter's lock for seconds and no Python thread runs. The kernel's PR_SET_PDEATHSIG covers
that time, but only Linux has it. On other systems a thread waits for the end of stdin. `process.py` starts
this process as `python -m mavera.models.embedded.child`.
"""

import ctypes
import importlib
import os
import signal
import sys
import threading
from typing import Any, NoReturn

import msgspec

from mavera.models.embedded.parameters import EngineParameters, EngineReport

PR_SET_PDEATHSIG = 1
# The default, 8192, is too much for a laptop. 1 GiB keeps about 35,000 tokens of prompts.
PROMPT_CACHE_MIB = 1024
WARNINGS = 2
REASONING_OFF = 0
# For models that always think: as little as they can. Values are JSON. Other templates ignore them.
TEMPLATE_ARGUMENTS = {"reasoning_effort": '"low"'}


def main() -> NoReturn:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    report_to = _take_stdout()
    parameters = msgspec.json.decode(sys.stdin.buffer.readline(), type=EngineParameters)
    # The parent may have died before this process asked the kernel to watch it.
    if sys.platform == "linux" and os.getppid() != parameters.parent_pid:
        os._exit(0)
    watcher = threading.Thread(target=_exit_with_parent, name="parent-watcher", daemon=True)
    watcher.start()
    report, server = _start(parameters)
    with os.fdopen(report_to, "wb") as stdout:
        stdout.write(msgspec.json.encode(report) + b"\n")
    if server is None:
        os._exit(1)
    watcher.join()
    os._exit(0)


def _take_stdout() -> int:
    """Return a private copy of stdout, and redirect everything that libraries print to stderr."""
    private = os.dup(1)
    os.dup2(2, 1)
    return private


def _exit_with_parent() -> NoReturn:
    while sys.stdin.buffer.read(1024):
        pass
    os._exit(0)


def _start(parameters: EngineParameters) -> tuple[EngineReport, Any]:
    """Load the model, and open the port. The server is None if that failed."""
    try:
        # Imported here, so that a broken installation is reported in the same way as a broken model.
        xllamacpp = importlib.import_module("xllamacpp")
    except ImportError as error:
        return EngineReport(error=f"its engine, xllamacpp, cannot be imported ({error})"), None
    try:
        server = xllamacpp.Server(_build_settings(xllamacpp, parameters))
        port = int(server.listening_address.rsplit(":", 1)[1])
    except Exception as error:
        return EngineReport(error=f"its engine refused the model ({error})"), None
    return EngineReport(port=port), server


def _build_settings(xllamacpp: Any, parameters: EngineParameters) -> Any:
    """
    Convert the parameters to llama.cpp's settings.

    `kv_unified` is off, so every slot owns its share of the context. In a shared context, four requests
    that grow together fill it, and llama.cpp then fails all four in mid-answer.
    """
    wanted = xllamacpp.CommonParams()
    wanted.model.path = parameters.model_path
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = 0
    wanted.api_keys = [parameters.api_key]
    wanted.n_parallel = parameters.slots
    wanted.kv_unified = False
    wanted.n_ctx = parameters.slots * parameters.context_tokens
    wanted.fit_params = False
    wanted.cpuparams.n_threads = parameters.threads
    wanted.cpuparams_batch.n_threads = parameters.threads
    wanted.cache_ram_mib = PROMPT_CACHE_MIB
    if parameters.states_dir:
        # The engine appends the file name directly, so the folder needs a final separator.
        wanted.slot_save_path = parameters.states_dir + os.sep
    wanted.endpoint_slots = True
    wanted.endpoint_metrics = True
    wanted.ui = False
    wanted.use_jinja = True
    # A persona speaks at once. A model that thinks first would cost minutes on a laptop.
    wanted.enable_reasoning = REASONING_OFF
    wanted.default_template_kwargs = TEMPLATE_ARGUMENTS
    if parameters.projector_path:
        wanted.mmproj.path = parameters.projector_path
    wanted.verbosity = WARNINGS
    return wanted


if __name__ == "__main__":
    main()
