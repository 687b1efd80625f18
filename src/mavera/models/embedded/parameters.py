"""Define the messages between the server and the engine's process: one JSON line in each direction."""

import msgspec


class EngineParameters(msgspec.Struct, frozen=True, kw_only=True):
    """
    The first line of the child's standard input.

    The key travels here, because command lines and environments are visible to other processes.
    `states_dir` is the folder for saved states. If it is empty, the engine saves none. `projector_path` is
    the file with which the model sees images. If it is empty, the model sees none.
    """

    model_path: str
    api_key: str
    slots: int
    context_tokens: int
    threads: int
    parent_pid: int
    states_dir: str = ""
    projector_path: str = ""


class EngineReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The only line on the child's standard output: a port, or the reason why there is none."""

    port: int | None = None
    error: str | None = None
