"""What the engine's process is told on its standard input, and what it says back: one JSON line each."""

import msgspec


class EngineParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of the child's standard input; the key is on no command line and in no environment.

    `states_dir` is where the engine may save what its slots hold; empty: nowhere.
    """

    model_path: str
    api_key: str
    slots: int
    context_tokens: int
    threads: int
    parent_pid: int
    states_dir: str = ""


class EngineReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The only line on the child's standard output: a port, or why there is none."""

    port: int | None = None
    error: str | None = None
