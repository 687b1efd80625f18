"""
Get a model from its publisher's hub: one file over HTTP, resumed by Range.

A machine that cannot reach the hub has to learn so within seconds, also where the name
server is what does not answer; and a sign-in page that answers in the hub's place has
to be told from the model, which its length does.
"""

import http.client
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager

from mavera.models.embedded.partial import CHUNK_BYTES, PartialFile, SourceFailed

ANSWER_SECONDS = 6.0
STALL_SECONDS = 30.0
TRIES = 4


def fill_from_hub(url: str, partial: PartialFile) -> None:
    """Append what is missing; raises SourceFailed once a try brings nothing, or after a few."""
    for last_try in (False,) * (TRIES - 1) + (True,):
        before = partial.size
        try:
            for chunk in _missing_bytes(url, partial):
                partial.append(chunk)
        except SourceFailed:
            if last_try or partial.size <= before:
                raise
        if not partial.missing:
            return
    raise SourceFailed("the publisher's hub ended the download early")


def _missing_bytes(url: str, partial: PartialFile) -> Iterator[bytes]:
    """Yield the rest of the file. Only the network's errors are translated, never the disk's."""
    with _network_errors():
        answer = _open(url, partial.size)
    with closing(answer):
        _check_is_the_file(answer, partial)
        while True:
            with _network_errors():
                chunk = answer.read(min(CHUNK_BYTES, partial.missing))
            if not chunk:
                return
            yield chunk


def _check_is_the_file(answer: http.client.HTTPResponse, partial: PartialFile) -> None:
    """Let only the awaited range, or the whole file, pass."""
    if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
        expected = f"bytes {partial.size}-{partial.total_bytes - 1}/{partial.total_bytes}"
        fits = answer.headers.get("Content-Range") == expected
    else:
        fits = answer.headers.get("Content-Length") == str(partial.total_bytes)
        if fits:
            partial.cut(0)
    if not fits:
        raise SourceFailed("the publisher's hub answered with another file")


def _open(url: str, offset: int) -> http.client.HTTPResponse:
    """
    Ask for the file from `offset` on, and wait a few seconds for the headers.

    A look-up of the host's name has no timeout of its own, so it happens in a thread
    that can be left behind.
    """
    answers: queue.SimpleQueue[http.client.HTTPResponse | Exception] = queue.SimpleQueue()
    left_behind = threading.Event()
    request = urllib.request.Request(  # noqa: S310 - the address is the catalogue's, never a user's
        url, headers={"Range": f"bytes={offset}-", "User-Agent": "mavera"}
    )

    def ask() -> None:
        try:
            answer = urllib.request.urlopen(request, timeout=STALL_SECONDS)  # noqa: S310
        except (OSError, http.client.HTTPException) as error:
            answers.put(error)
            return
        if left_behind.is_set():
            answer.close()
        else:
            answers.put(answer)

    threading.Thread(target=ask, name="mavera-hub", daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        left_behind.set()
        raise TimeoutError(f"no answer within {ANSWER_SECONDS:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


@contextmanager
def _network_errors() -> Iterator[None]:
    """Let nothing of urllib's own errors past this file."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise SourceFailed(f"the publisher's hub answered {error.code}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise SourceFailed(f"the publisher's hub could not be reached ({reason})") from error
