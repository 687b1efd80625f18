"""
Turn texts into vectors whose products say how near the texts are in meaning.

    text → pieces → multilingual-e5-small (8 bits, onnxruntime) → mean over the pieces → unit length
                                     └→ states of its pieces after two thirds of the layers

One encoder serves every reader of answers, so that no two of them disagree about a text. How it was
chosen: docs/decisions/0051-sentence-encoder.md and 0090-encoder-in-8-bits.md. `evals.reading.build_encoder`
makes its weights.
"""

import importlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mavera.reading.pieces import END, START, Pieces
from mavera.reading.prose import to_plain

WEIGHTS = Path(__file__).parent / "weights"
VERSION = "e5-small-q8-1"
LANGUAGES = ("en", "de", "es", "fr", "pt")
DIMENSIONS = 384
# A longer text is represented by its beginning. A sentence has at most 600 characters.
MAX_TOKENS = 256
MAX_CHARACTERS = 2000
# e5 was trained with one of two words before each text. This word is for comparing texts of one kind.
_PREFIX = "query: "
# The vectors of this many texts are kept: an answer is read for its verdict and for its analysis.
_REMEMBERED = 512


class NoEncoder(Exception):
    """The encoder cannot run here. The message says why."""


class SentenceEncoder:
    """
    The encoder, loaded by the first call that needs it. It takes about 60 MB of memory.

    It can be called from several threads. A call takes processor time, so call it in a thread. A vector
    does not depend on the other texts of the call.
    """

    version = VERSION
    languages = LANGUAGES

    def __init__(self, folder: Path = WEIGHTS) -> None:
        self._folder = folder
        self._loading = threading.Lock()
        self._parts: tuple[Any, Pieces] | None = None
        self._kept: OrderedDict[str, Any] = OrderedDict()
        self._keeping = threading.Lock()

    def find_problem(self) -> str | None:
        """Return why no text can be read here, or None if the encoder works. Loads it."""
        try:
            self._load()
        except NoEncoder as error:
            return str(error)
        return None

    def embed(self, texts: Sequence[str]) -> Any:
        """
        Return a float32 array (len(texts), 384) whose rows have unit length.

        The product of two rows is their cosine: about .75 for texts that have nothing in common, and
        1 for the same text. Raises NoEncoder.
        """
        numpy = _numpy()
        clipped = [text[:MAX_CHARACTERS] for text in texts]
        with self._keeping:
            known = {text: self._kept[text] for text in clipped if text in self._kept}
        missing = [text for text in dict.fromkeys(clipped) if text not in known]
        known.update(self._read(missing))
        if missing:
            self._keep(known)
        if not clipped:
            return numpy.zeros((0, DIMENSIONS), numpy.float32)
        return numpy.stack([known[text] for text in clipped])

    def embed_with_states(self, text: str) -> tuple[Any, Any]:
        """
        Return the vector of `text` and the states of its pieces, a float32 array (pieces, 384).

        A small model that was trained on the states can read what the vector does not tell. The vector is
        kept, so that `embed` need not compute it again, and the states are not. Raises NoEncoder.
        """
        session, pieces = self._load()
        text = text[:MAX_CHARACTERS]
        vector, states = run(session, to_row(pieces, text), ["vectors", "states"])
        self._keep({text: vector})
        return vector, states

    def _keep(self, found: dict[str, Any]) -> None:
        with self._keeping:
            for text, vector in found.items():
                self._kept[text] = vector
                self._kept.move_to_end(text)
            while len(self._kept) > _REMEMBERED:
                self._kept.popitem(last=False)

    def _read(self, texts: list[str]) -> Iterator[tuple[str, Any]]:
        if not texts:
            return
        session, pieces = self._load()
        # An input has one scale for all its values, so in a batch a vector would depend on the other texts.
        for text in texts:
            (vector,) = run(session, to_row(pieces, text), ["vectors"])
            yield text, vector

    def _load(self) -> tuple[Any, Pieces]:
        with self._loading:
            if self._parts is None:
                self._parts = (
                    _open_session(self._folder / "encoder.onnx"),
                    _open_pieces(self._folder / "pieces.txt"),
                )
            return self._parts


def to_row(pieces: Pieces, text: str) -> list[int]:
    """Return the numbers of the pieces of `text` as the encoder reads them, at most `MAX_TOKENS`."""
    return [START, *pieces.encode(_PREFIX + to_plain(text))[: MAX_TOKENS - 2], END]


def run(session: Any, row: Sequence[int], outputs: list[str]) -> list[Any]:
    """Return the `outputs` of the encoder's session for one text."""
    found = session.run(outputs, {"ids": _numpy().array([row], "int64")})
    return [one[0] for one in found]


def _open_session(path: Path) -> Any:
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise NoEncoder("The package onnxruntime is not installed.") from error
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # an answer is short, and the language model needs the cores
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime raises its own exception classes, which have no common base.
        raise NoEncoder(f"The sentence encoder cannot be loaded: {error}") from error


def _open_pieces(path: Path) -> Pieces:
    try:
        return Pieces.load(path)
    except (OSError, ValueError) as error:
        raise NoEncoder(f"{path} cannot be read: {error}") from error


@cache
def _numpy() -> Any:
    try:
        return importlib.import_module("numpy")
    except ImportError as error:
        raise NoEncoder("The package numpy is not installed.") from error
