"""
Whatever the model's server does wrong, a client is told, and never takes it for an answer.

Before the first event: a status. After it: `response.failed`, or a chunk with `error`;
then `data: [DONE]`, so that a client waits for nothing more.
"""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import running_server
from tests.support.upstream_stage import (
    BODIES,
    CHAT,
    RESPONSES,
    SECRET,
    WHOLE,
    Stage,
    assert_failed,
    events_of,
    said_in,
    text_of,
)
from tests.support.upstream_stub import (
    DONE,
    FINISH,
    SAID,
    Behaviour,
    Upstream,
    answer,
    breaks_off,
    hangs_up,
    holds_its_headers,
    is_silent,
    never_ends_its_line,
    refuses,
    sends,
    text,
)

both_formats = pytest.mark.parametrize("path", [RESPONSES, CHAT])
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["unstreamed", "streamed"])

# What it does with each request; status, code, tries, and words of the message.
REFUSED: dict[str, tuple[list[Behaviour], int, str, int, str]] = {
    "401": (
        [refuses(401, {"error": {"message": f"bad key {SECRET}"}})],
        503,
        "service_unavailable",
        1,
        "API_KEY",
    ),
    "403": ([refuses(403)], 503, "service_unavailable", 1, "MAVERA_UPSTREAM_API_KEY"),
    "404": ([refuses(404)], 503, "service_unavailable", 1, "MAVERA_UPSTREAM_MODEL"),
    "302": ([refuses(302, Location="http://127.0.0.1:1/")], 503, "service_unavailable", 1, "302"),
    "429 for good": ([refuses(429)], 503, "service_unavailable", 3, "too much"),
    "500 for good": ([refuses(500)], 503, "service_unavailable", 3, "500"),
    "503 for good": ([refuses(503)], 503, "service_unavailable", 3, "503"),
    "400 with a message": (
        [refuses(400, {"error": {"message": "context is 4096 tokens"}})],
        400,
        "invalid_request",
        1,
        "context is 4096 tokens",
    ),
    "400 with our key in it": (
        [refuses(400, {"error": {"message": f"key {SECRET} may not do this"}})],
        400,
        "invalid_request",
        1,
        "may not do this",
    ),
    "400 with a text": ([refuses(400, {"error": "no images"})], 400, "invalid_request", 1, "no images"),
    "400 without a message": ([refuses(400, [])], 400, "invalid_request", 1, "no reason"),
    "422": ([refuses(422)], 400, "invalid_request", 1, "refused with 422"),
    "hangs up": ([hangs_up], 503, "service_unavailable", 3, "broke"),
    "never sends headers": ([holds_its_headers], 503, "service_unavailable", 1, "in time"),
}


@both_formats
@both_ways
@pytest.mark.parametrize(("script", "status", "code", "tries", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_fails_before_the_answer_is_a_status(
    stage: Stage,
    path: str,
    stream: bool,
    script: list[Behaviour],
    status: int,
    code: str,
    tries: int,
    words: str,
) -> None:
    stage.upstream.script = script

    answer = stage.ask(path, stream=stream)

    if stream and answer.status_code == 200:  # the tries took longer than a stream waits
        assert tries > 1
        assert words in assert_failed(events_of(answer))
    else:
        assert answer.status_code == status
        assert answer.json()["error"]["code"] == code
        assert words in answer.json()["error"]["message"]
        assert (status == 503) == ("retry-after" in answer.headers)
    assert len(stage.upstream.asked) == tries
    assert SECRET not in answer.text


@both_formats
@both_ways
@pytest.mark.parametrize(
    "script",
    [
        [refuses(429, Retry_After="1"), answer()],
        [refuses(500), refuses(500), answer()],
        [refuses(503, Retry_After="0"), hangs_up, answer()],
    ],
    ids=["429 once", "500 twice", "503, then hangs up"],
)
def test_what_passes_is_tried_again_until_it_has_passed(
    stage: Stage, path: str, stream: bool, script: list[Behaviour]
) -> None:
    stage.upstream.script = script

    answer = stage.ask(path, stream=stream)

    assert answer.status_code == 200
    assert (said_in(events_of(answer)) if stream else text_of(path, answer)) == SAID
    assert len(stage.upstream.asked) == len(script)


BEGUN = text("Well,")
BROKEN: dict[str, tuple[Behaviour, str]] = {
    "silent after its headers": (is_silent(), "in time"),
    "silent after some words": (is_silent(BEGUN), "in time"),
    "cut off": (breaks_off(BEGUN), "broke"),
    "cut off within a line": (breaks_off(BEGUN, FINISH[:20]), "broke"),
    "an error object": (
        sends(BEGUN, b'data: {"error": {"message": "out of memory"}}\n\n', DONE),
        "out of memory",
    ),
    "an error with our key in it": (
        sends(BEGUN, b'data: {"error": {"message": "key %b expired"}}\n\n' % SECRET.encode(), DONE),
        "expired",
    ),
    "an error as the reason": (sends(BEGUN, FINISH.replace(b'"stop"', b'"error"'), DONE), "error"),
    "garbage": (sends(BEGUN, b"data: \x00\xff garbage\n\n"), "other than a chat completion"),
    "a page of HTML": (sends(b"<html>Bad gateway</html>\n"), "before its answer was finished"),
    "[DONE] too early": (sends(BEGUN, DONE), "before its answer was finished"),
    "an end too early": (sends(BEGUN), "before its answer was finished"),
    "nothing": (sends(), "before its answer was finished"),
    "a line without end": (never_ends_its_line, "without end"),
    "an error as JSON": (
        sends(b'{"error": {"message": "out of memory"}}', content_type="application/json"),
        "out of memory",
    ),
    "garbage as JSON": (
        sends(b'{"choices": [', content_type="application/json"),
        "other than a chat completion",
    ),
    "no JSON at all": (sends(content_type="application/json"), "before its answer was finished"),
}


@both_formats
@both_ways
@pytest.mark.parametrize(("behaviour", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_what_fails_within_the_answer_is_never_a_normal_end_and_never_tried_again(
    stage: Stage, path: str, stream: bool, behaviour: Behaviour, words: str
) -> None:
    stage.upstream.script = [behaviour, answer()]

    failed = stage.ask(path, stream=stream)

    if stream:
        events = events_of(failed)
        assert failed.status_code == 200
        assert words in assert_failed(events)
        assert said_in(events) in ("", "Well,")
    else:
        assert failed.status_code == 503
        assert failed.json()["error"]["code"] == "service_unavailable"
        assert words in failed.json()["error"]["message"]
    assert len(stage.upstream.asked) == 1
    assert SECRET not in failed.text
    stage.upstream.wait_until_busy(0)


@both_formats
@both_ways
def test_an_upstream_that_does_not_stream_is_understood(stage: Stage, path: str, stream: bool) -> None:
    whole = json.dumps(WHOLE).encode()
    stage.upstream.script = [sends(whole[:20], whole[20:], content_type="application/json; charset=utf-8")]

    answered = stage.ask(path, stream=stream)

    assert (said_in(events_of(answered)) if stream else text_of(path, answered)) == SAID
    assert stage.upstream.asked[0]["stream"] is True


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A server whose upstream is a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    settings: dict[str, Any] = {
        "model_backend": "upstream",
        "upstream_base_url": url,
        "upstream_model": "stub",
    }
    with running_server(tmp_path_factory.mktemp("data"), **settings) as served:
        yield Stage(served, Upstream())


@both_formats
@both_ways
def test_an_upstream_that_nobody_serves_is_a_503(lonely: Stage, path: str, stream: bool) -> None:
    answer = lonely.ask(path, stream=stream)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert "could not be reached" in answer.json()["error"]["message"]


def test_a_model_slower_than_a_stream_may_wait_fails_within_the_stream(
    tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> None:
    upstream.script = [holds_its_headers]

    with running_server(
        tmp_path_factory.mktemp("data"),
        model_backend="upstream",
        upstream_base_url=upstream.url,
        upstream_model="stub",
        upstream_first_byte_timeout_seconds=1.5,
    ) as served:
        answers = [Stage(served, upstream).ask(path, stream=True) for path in BODIES]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert all("in time" in assert_failed(events_of(answer)) for answer in answers)


def test_silence_within_an_answer_ends_it_however_long_the_first_byte_may_take(
    tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> None:
    upstream.script = [answer(), is_silent(text("I would ")), answer(), is_silent()]

    with running_server(
        tmp_path_factory.mktemp("data"),
        model_backend="upstream",
        upstream_base_url=upstream.url,
        upstream_model="stub",
        upstream_first_byte_timeout_seconds=120,
        upstream_idle_timeout_seconds=0.5,
    ) as served:
        stage = Stage(served, upstream)
        # The second and the fourth take the connection, with its timer, of the one before.
        answers = [stage.ask(CHAT, stream=True) for _ in range(4)]

    assert said_in(events_of(answers[0])) == said_in(events_of(answers[2])) == SAID
    assert all("in time" in assert_failed(events_of(silent)) for silent in answers[1::2])
