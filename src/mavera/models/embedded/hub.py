"""
Download a model from its publisher's hub: one file over HTTP, resumed by Range.

A machine that cannot reach the hub must notice within seconds, even if the name server is what does not
answer. A sign-in page in place of the hub is recognised by its length.
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
    """Append the missing bytes. Raises SourceFailed after a try without any bytes, or after a few tries."""
    for last_try in (False,) * (TRIES - 1) + (True,):
        before = partial.size
        try:
            for chunk in _count_missing_bytes(url, partial):
                partial.append(chunk)
        except SourceFailed:
            if last_try or partial.size <= before:
                raise
        if not partial.missing:
            return
    raise SourceFailed("the publisher's hub ended the download early")


def _count_missing_bytes(url: str, partial: PartialFile) -> Iterator[bytes]:
    """Yield the rest of the file. Errors of the network become SourceFailed. Errors of the disk do not."""
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
    """Raise SourceFailed unless the response is the requested range or the whole file."""
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
    Request the file from `offset` on, and wait a few seconds for the headers.

    The look-up of the host's name has no timeout of its own, so it runs in a thread that can be abandoned.
    """
    answers: queue.SimpleQueue[http.client.HTTPResponse | Exception] = queue.SimpleQueue()
    left_behind = threading.Event()
    request = urllib.request.Request(  # noqa: S310 - the URL is in the catalogue, never a user's
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
    """Turn urllib's errors into SourceFailed."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise SourceFailed(f"the publisher's hub answered {error.code}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise SourceFailed(f"the publisher's hub could not be reached ({reason})") from error
