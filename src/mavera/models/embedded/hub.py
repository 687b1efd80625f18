"""
Download files from a model hub or a mirror of it: one file over HTTP, resumed by Range.

    GET <hub>/<owner>/<repository>/resolve/<revision>/<path>   →   a few redirects   →   the file

A machine that cannot reach the hub must notice within seconds, even if the name server is what does not
answer. A sign-in page in place of the hub is recognised by its length. The hub is not trusted: redirects,
bytes and silence are bounded, and the token goes to the hub's own host only.
"""

import http.client
import queue
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from mavera.models.embedded.catalogue import HubFile
from mavera.models.embedded.partial import CHUNK_BYTES, PartialFile, SourceFailed

ANSWER_SECONDS = 6.0
STALL_SECONDS = 30.0
TRIES = 4
# A try that brought this much is not counted. A file of 20 GB may take many of them on a poor line.
GOOD_TRY_BYTES = 16 * 1024 * 1024
MOST_REDIRECTS = 5
# A hub that sends less than this for a while is as good as silent.
LEAST_BYTES_PER_SECOND = 1024
MOST_FILE_BYTES = 1 << 40
_TOTAL = re.compile(r"bytes \d+-\d+/(\d{1,15})")


@dataclass(frozen=True, slots=True)
class Hub:
    """A model hub. `token` opens gated files."""

    base_url: str = "https://huggingface.co"
    token: str = field(default="", repr=False)
    stall_seconds: float = STALL_SECONDS

    def file_url(self, file: HubFile) -> str:
        quoted = [urllib.parse.quote(part) for part in (file.repository, file.revision, file.path)]
        return f"{self.base_url.rstrip('/')}/{quoted[0]}/resolve/{quoted[1]}/{quoted[2]}"

    def fill(self, file: HubFile, partial: PartialFile) -> None:
        """Append the missing bytes. Raises SourceFailed after a try without bytes, or a few short ones."""
        tries = 0
        while True:
            before = partial.size
            try:
                for chunk in self._read_missing_bytes(file, partial):
                    partial.append(chunk)
            except SourceFailed:
                if partial.size <= before or tries + 1 >= TRIES:
                    raise
            if not partial.missing:
                return
            tries += partial.size - before < GOOD_TRY_BYTES
            if tries >= TRIES:
                raise SourceFailed(f"{self._host} ended the download early; pull again to continue it")

    def read_start(self, file: HubFile, most_bytes: int) -> tuple[bytes, int]:
        """Return the first bytes of a file, and its size. Raises SourceFailed."""
        with self._translate_errors(file):
            answer = self._open(file, f"bytes=0-{most_bytes - 1}")
            with closing(answer):
                size = _find_total_bytes(answer)
                if size is None:
                    raise SourceFailed(f"{self._host} does not say how large {file.path} is")
                return b"".join(_read(answer, min(most_bytes, size), _Pace(self.stall_seconds))), size

    @property
    def _host(self) -> str:
        return urllib.parse.urlsplit(self.base_url).netloc or self.base_url

    def _read_missing_bytes(self, file: HubFile, partial: PartialFile) -> Iterator[bytes]:
        """Yield the rest of the file. Errors of the network become SourceFailed. Those of the disk do not."""
        with self._translate_errors(file):
            answer = self._open(file, f"bytes={partial.size}-")
        with closing(answer):
            self._check_is_the_file(file, answer, partial)
            chunks = _read(answer, partial.missing, _Pace(self.stall_seconds))
            while True:
                with self._translate_errors(file):
                    chunk = next(chunks, b"")
                if not chunk:
                    return
                yield chunk

    def _check_is_the_file(
        self, file: HubFile, answer: http.client.HTTPResponse, partial: PartialFile
    ) -> None:
        """Raise SourceFailed unless the response is the requested range or the whole file."""
        size = _find_total_bytes(answer)
        if size != partial.total_bytes:
            found = f"one of {size:,} bytes" if size is not None else "one of no stated length"
            raise SourceFailed(
                f"{self._host} answered with another file ({found}; {file.path} has {partial.total_bytes:,})"
            )
        if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {partial.size}-"):
                raise SourceFailed(f"{self._host} answered with another part of {file.path}")
        else:
            partial.cut(0)

    def _open(self, file: HubFile, range_header: str) -> http.client.HTTPResponse:
        """
        Request a range of a file, and wait a few seconds for the headers.

        The look-up of the host's name has no timeout of its own, so it runs in a thread that can be
        abandoned.
        """
        url = self.file_url(file)
        if not url.startswith(("https://", "http://")):
            raise SourceFailed(f"MAVERA_MODEL_HUB has to be an http(s) URL, and is '{self.base_url}'")
        request = urllib.request.Request(url, headers={"Range": range_header, "User-Agent": "mavera"})  # noqa: S310
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        opener = urllib.request.build_opener(_Redirects)
        return _wait_for(lambda: opener.open(request, timeout=self.stall_seconds))

    @contextmanager
    def _translate_errors(self, file: HubFile) -> Iterator[None]:
        """Turn urllib's errors into SourceFailed, which says what to do."""
        try:
            yield
        except urllib.error.HTTPError as error:
            error.close()
            raise SourceFailed(self._explain_status(error, file)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise SourceFailed(
                f"{self._host} could not be reached ({reason}); check the network and proxy, or set "
                "MAVERA_MODEL_HUB to a mirror"
            ) from error

    def _explain_status(self, error: urllib.error.HTTPError, file: HubFile) -> str:
        match error.code:
            case 401 | 403:
                refused = (
                    "the token in MAVERA_MODEL_HUB_TOKEN may not read it" if self.token else "it is gated"
                )
                return (
                    f"{self._host} answered {error.code} for {file.repository}: {refused}; accept its terms "
                    f"at {self.base_url.rstrip('/')}/{file.repository}, make a token there, and set "
                    "MAVERA_MODEL_HUB_TOKEN"
                )
            case 404 | 410:
                return (
                    f"{self._host} answered {error.code}: it has no {file.path} in {file.repository} at "
                    f"{file.revision}; check the spelling, or choose another from mavera models list"
                )
            case 429:
                seconds = error.headers.get("Retry-After", "")
                later = f"in {seconds} s" if seconds.isdigit() and len(seconds) < 6 else "later"
                return f"{self._host} answered 429, too many requests; pull again {later}"
            case code if 300 <= code < 400:
                return f"{self._host} redirected more than {MOST_REDIRECTS} times, or to no http(s) URL"
            case code:
                return f"{self._host} answered {code}; pull again later"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, and none from https to http."""

    max_redirections = MOST_REDIRECTS
    max_repeats = MOST_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        allowed = ("https",) if req.type == "https" else ("https", "http")
        if urllib.parse.urlsplit(newurl).scheme not in allowed:
            raise urllib.error.HTTPError(req.full_url, code, "refused redirect", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Pace:
    """Raises TimeoutError if the bytes of a while are too few."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since = time.monotonic()
        self._bytes = 0

    def note(self, size: int) -> None:
        self._bytes += size
        passed = time.monotonic() - self._since
        if passed < self._seconds:
            return
        if self._bytes < LEAST_BYTES_PER_SECOND * passed:
            raise TimeoutError(f"only {self._bytes} bytes in {passed:.0f} s")
        self._since, self._bytes = time.monotonic(), 0


def _read(answer: http.client.HTTPResponse, most_bytes: int, pace: _Pace) -> Iterator[bytes]:
    """Yield at most `most_bytes` of a body as they come. Raises TimeoutError if they come too slowly."""
    left = most_bytes
    while left and (chunk := answer.read1(min(CHUNK_BYTES, left))):
        pace.note(len(chunk))
        left -= len(chunk)
        yield chunk


def _find_total_bytes(answer: http.client.HTTPResponse) -> int | None:
    """Return the size of the whole file. None if the response does not tell it."""
    if answer.status == http.HTTPStatus.PARTIAL_CONTENT:
        found = _TOTAL.fullmatch(answer.headers.get("Content-Range", ""))
        text = found[1] if found else ""
    else:
        text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdigit() and len(text) < 16 and int(text) <= MOST_FILE_BYTES else None


def _wait_for(open_answer: Callable[[], http.client.HTTPResponse]) -> http.client.HTTPResponse:
    answers: queue.SimpleQueue[http.client.HTTPResponse | Exception] = queue.SimpleQueue()
    left_behind = threading.Event()

    def ask() -> None:
        try:
            answer = open_answer()
        except (OSError, http.client.HTTPException, ValueError) as error:
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
