"""
Every request that must be refused: with which status, code and param, in both formats.

    400 invalid_request     unparsable, a field missing, unknown or twice, fields that contradict
    422 validation_error    wrong type, out of range, too long, unknown model
    404 persona_not_found · 413 request_too_large · 401 unauthorized

After each of them the server still answers, and so does the same request mended.
"""

import asyncio
import gzip
import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.keys.repository import find_first_workspace_id
from mavera.accounts.keys.text import make_key_text
from mavera.models.scripted import ScriptedModel
from mavera.storage.database import Database
from tests.conftest import Serve, Served, running_server
from tests.support.bad_input import (
    CHAT,
    DEEP,
    MAX_BODY_BYTES,
    RESPONSES,
    TABLE,
    UNPARSABLE,
    VALID,
    Alter,
    Answer,
    Fields,
    after_first_brace,
    chat_tool,
    mended,
    tool,
    user,
)

TYPES = {
    "invalid_request": "invalid_request_error",
    "validation_error": "invalid_request_error",
    "request_too_large": "invalid_request_error",
    "method_not_allowed": "invalid_request_error",
    "unauthorized": "authentication_error",
    "not_found": "not_found_error",
    "persona_not_found": "not_found_error",
    "internal_error": "server_error",
}
CODES = {
    400: "invalid_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    422: "validation_error",
    500: "internal_error",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running_server(
        tmp_path_factory.mktemp("data"), ScriptedModel(["Yes."]), max_body_bytes=MAX_BODY_BYTES
    ) as running:
        yield running


def ask(
    served: Served,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    *,
    key: bool = True,
) -> Answer:
    """Send one request over a connection of its own; a body that is an iterator goes out chunked."""
    sent = {"Content-Type": "application/json", **(served.headers if key else {}), **(headers or {})}
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def assert_refused(answer: Answer, status: int, code: str, param: str | None) -> None:
    told = json.loads(answer.body)
    assert (answer.status, told["error"]["code"], told["error"]["param"]) == (status, code, param), told
    assert set(told) == {"error"}
    assert set(told["error"]) == {"message", "type", "code", "param"}
    assert told["error"]["type"] == TYPES[code]
    assert told["error"]["message"]
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["content-type"] == "application/json"


def assert_still_answers(served: Served, path: str) -> None:
    answer = ask(served, "POST", path, json.dumps(VALID[path]))
    assert answer.status == 200, answer.body


def name_of(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value, default=lambda _: "(omitted)")[:60]
    return str(value)[:40]


@pytest.mark.parametrize("stream", [False, True], ids=["unstreamed", "streamed"])
@pytest.mark.parametrize(("path", "fields", "status", "param"), TABLE, ids=name_of)
def test_a_field_that_does_not_fit_is_refused_by_name(
    served: Served, path: str, fields: Fields, status: int, param: str | None, stream: bool
) -> None:
    code = "persona_not_found" if status == 404 else CODES[status]

    body = json.dumps(mended(path, {"stream": stream, **fields}), ensure_ascii=False)
    answer = ask(served, "POST", path, body.encode())

    assert_refused(answer, status, code, param)
    assert_still_answers(served, path)


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
def test_the_largest_values_still_allowed_are_taken(served: Served, path: str) -> None:
    fields = {
        "temperature": 2,
        "top_p": 0,
        "seed": 2**63 - 1,
        "metadata": {str(n) + "k" * 62: "v" * 512 for n in range(16)},
        "safety_identifier": "s" * 64,
        "user": "\u0000\u202e\U0001f600",
        "moderation": json.loads('{"a":' * 120 + "1" + "}" * 120),
    }
    widest: Fields = (
        {"input": "\U0001f600" * 100_000, "tools": [tool(f"f{n}") for n in range(64)]}
        if path == RESPONSES
        else {
            "messages": [user()] * 128,
            "tools": [chat_tool(f"f{n}") for n in range(64)],
            "stop": ["a", "b", "c", "d"],
        }
    )

    answer = ask(
        served, "POST", path, json.dumps(mended(path, {**fields, **widest}), ensure_ascii=False).encode()
    )

    assert answer.status == 200, answer.body


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize("alter", UNPARSABLE.values(), ids=UNPARSABLE.keys())
def test_a_body_that_is_no_json_object_is_refused(served: Served, path: str, alter: Alter) -> None:
    answer = ask(served, "POST", path, alter(json.dumps(VALID[path]).encode()))

    assert_refused(answer, 400, "invalid_request", None)
    assert_still_answers(served, path)


REPEATED = {
    "the model": (b'"model": "mavera-1"', "model"),
    "the model, once escaped": (b'"m\\u006fdel": "mavera-1"', "model"),
    "a field the seeds add": (b'"analysis_mode": false, "analysis_mode": true', "analysis_mode"),
    "a name inside a free member": (b'"metadata": {"a": "1", "b": "2", "a": "3"}', "a"),
    "a name far inside": (b'"moderation": {"x": [{"y": {"z": 1, "z": 1}}]}', "z"),
    "an empty name": (b'"metadata": {"": "1", "": "2"}', ""),
}


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize(("text", "param"), REPEATED.values(), ids=REPEATED.keys())
def test_a_field_that_stands_twice_is_refused_by_name(
    served: Served, path: str, text: bytes, param: str
) -> None:
    answer = ask(served, "POST", path, after_first_brace(text)(json.dumps(VALID[path]).encode()))

    assert_refused(answer, 400, "invalid_request", param)
    assert_still_answers(served, path)


def test_a_field_twice_in_a_message_is_refused_by_name(served: Served) -> None:
    body = b'{"model": "mavera-1", "messages": [{"role": "user", "content": "a", "content": "b"}]}'

    assert_refused(ask(served, "POST", CHAT, body), 400, "invalid_request", "content")


HINTS = [
    (RESPONSES, {"temprature": 1}, "temperature"),
    (RESPONSES, {"personaId": "x"}, "persona_id"),
    (RESPONSES, {"persona": "x"}, "persona_id"),
    (RESPONSES, {"max_output_token": 5}, "max_output_tokens"),
    (RESPONSES, {"analysis-mode": True}, "analysis_mode"),
    (CHAT, {"message": []}, "messages"),
    (CHAT, {"max_token": 5}, "max_tokens"),
    (CHAT, {"messages": [user(nmae="ann")]}, "name"),
    (CHAT, {"response_fromat": {}}, "response_format"),
]


@pytest.mark.parametrize(("path", "fields", "meant"), HINTS, ids=name_of)
def test_an_unknown_field_is_answered_with_the_nearest_known_one(
    served: Served, path: str, fields: Fields, meant: str
) -> None:
    answer = ask(served, "POST", path, json.dumps(mended(path, fields)))

    assert answer.status == 400
    assert f"Did you mean '{meant}'?" in answer.error["message"]


ENUMS: list[tuple[str, Fields, str, list[str]]] = [
    (RESPONSES, {"text": {"verbosity": "huge"}}, "text.verbosity", ["'low'", "'medium'", "'high'"]),
    (RESPONSES, {"text": {"verbosity": "hgh"}}, "text.verbosity", ["Did you mean 'high'?"]),
    (RESPONSES, {"reasoning": {"effort": "most"}}, "reasoning.effort", ["'minimal'", "'high'"]),
    (RESPONSES, {"input": [{"type": "huge"}]}, "input[0].type", ["'message'", "'function_call_output'"]),
    (RESPONSES, {"input": [{"role": "usr", "content": "x"}]}, "input[0].role", ["Did you mean 'user'?"]),
    (RESPONSES, {"tools": [{"type": "magic"}]}, "tools[0].type", ["'function'", "'web_search'", "'mcp'"]),
    (RESPONSES, {"tool_choice": "always"}, "tool_choice", ["'none'", "'auto'", "'required'"]),
    (RESPONSES, {"truncation": "yes"}, "truncation", ["'auto' or 'disabled'"]),
    (RESPONSES, {"model": "gpt-5"}, "model", ["There is no model 'gpt-5' here. Known models: mavera-1."]),
    (CHAT, {"model": "mavera-1 "}, "model", ["There is no model of that name here. Known models: mavera-1."]),
    (CHAT, {"verbosity": "huge"}, "verbosity", ["'low'", "'medium'", "'high'"]),
    (CHAT, {"messages": [{"role": "usr", "content": "x"}]}, "messages[0].role", ["'user'", "'assistant'"]),
    (CHAT, {"response_format": {"type": "xml"}}, "response_format.type", ["'json_object'", "'json_schema'"]),
    (CHAT, {"service_tier": "best"}, "service_tier", ["'auto'", "'flex'"]),
]


@pytest.mark.parametrize(("path", "fields", "param", "parts"), ENUMS, ids=name_of)
def test_a_value_that_is_none_of_a_few_is_answered_with_these(
    served: Served, path: str, fields: Fields, param: str, parts: list[str]
) -> None:
    answer = ask(served, "POST", path, json.dumps(mended(path, fields)))

    assert_refused(answer, 422, "validation_error", param)
    assert all(part in answer.error["message"] for part in parts), answer.error["message"]


OTHERS = [
    (RESPONSES, "messages", "Send the conversation as 'input'."),
    (RESPONSES, "response_format", "Send the format as 'text.format'."),
    (RESPONSES, "max_tokens", "Send the limit as 'max_output_tokens'."),
    (CHAT, "input", "Send the conversation as 'messages'."),
    (CHAT, "instructions", "with the role 'system'"),
    (CHAT, "max_output_tokens", "Send the limit as 'max_completion_tokens'."),
    (CHAT, "previous_response_id", "Send the whole conversation in 'messages'."),
]


@pytest.mark.parametrize(("path", "name", "advice"), OTHERS, ids=name_of)
def test_a_parameter_of_the_other_endpoint_is_answered_with_what_to_send(
    served: Served, path: str, name: str, advice: str
) -> None:
    answer = ask(served, "POST", path, json.dumps({"model": "mavera-1", name: "x"}))

    assert_refused(answer, 400, "invalid_request", name)
    assert advice in answer.error["message"]


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize("name", ["nonsense", "q", "stop_the_world"])
def test_an_unknown_field_with_no_near_name_gets_no_hint(served: Served, path: str, name: str) -> None:
    answer = ask(served, "POST", path, json.dumps(mended(path, {name: 1})))

    assert answer.status == 400
    assert "Did you mean" not in answer.error["message"]


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", "t" * 900],
)
def test_another_content_type_is_refused(served: Served, path: str, content_type: str) -> None:
    answer = ask(served, "POST", path, json.dumps(VALID[path]), {"Content-Type": content_type})

    assert_refused(answer, 415, "invalid_request", None)
    assert answer.headers["accept-encoding"] == "identity"
    assert "application/json" in answer.error["message"]
    assert_still_answers(served, path)


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json"]
)
def test_every_spelling_of_json_is_taken(served: Served, path: str, content_type: str) -> None:
    answer = ask(served, "POST", path, json.dumps(VALID[path]), {"Content-Type": content_type})

    assert answer.status == 200


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "gzip, identity"])
def test_a_compressed_body_is_refused_with_what_is_taken(served: Served, path: str, encoding: str) -> None:
    body = gzip.compress(json.dumps(VALID[path]).encode())

    answer = ask(served, "POST", path, body, {"Content-Encoding": encoding})

    assert_refused(answer, 415, "invalid_request", None)
    assert answer.headers["accept-encoding"] == "identity"
    assert encoding in answer.error["message"]


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
def test_a_body_that_says_it_is_not_compressed_is_taken(served: Served, path: str) -> None:
    assert ask(served, "POST", path, json.dumps(VALID[path]), {"Content-Encoding": "identity"}).status == 200


@pytest.mark.parametrize("slashes", ["/", "//"])
@pytest.mark.parametrize("path", [RESPONSES, CHAT, "/v1/responses", "/v1/chat/completions"])
def test_a_slash_at_the_end_of_a_path_changes_nothing(served: Served, path: str, slashes: str) -> None:
    answer = ask(served, "POST", path + slashes, json.dumps(VALID["/api" * (path[1] == "v") + path]))

    assert answer.status == 200
    assert "location" not in answer.headers


def test_a_slash_at_the_end_of_a_path_with_an_id_changes_nothing(served: Served) -> None:
    [persona] = json.loads(ask(served, "GET", "/api/v1/personas?limit=1").body)["data"]

    answer = ask(served, "GET", f"/api/v1/personas/{persona['id']}/")

    assert (answer.status, json.loads(answer.body)["id"]) == (200, persona["id"])


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
def test_the_header_of_azures_clients_carries_a_key_too(served: Served, path: str) -> None:
    body = json.dumps(VALID[path])

    assert ask(served, "POST", path, body, {"api-key": served.key}, key=False).status == 200
    # `Authorization` goes first: a proxy may set it, and a client may leave a header of another server in.
    both = {"api-key": "mvra_live_other", "Authorization": f"Bearer {served.key}"}
    assert ask(served, "POST", path, body, both, key=False).status == 200
    assert_refused(
        ask(served, "POST", path, body, {"api-key": "sk-nonsense"}, key=False), 401, "unauthorized", None
    )


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize("framing", ["Content-Length", "chunked"])
def test_a_body_over_the_limit_is_refused(served: Served, path: str, framing: str) -> None:
    body = json.dumps(mended(path, {"user": "u" * MAX_BODY_BYTES})).encode()
    pieces = (body[start : start + 60_000] for start in range(0, len(body), 60_000))

    answer = ask(served, "POST", path, body if framing == "Content-Length" else pieces)

    assert_refused(answer, 413, "request_too_large", None)
    assert f"{MAX_BODY_BYTES:,}" in answer.error["message"]
    assert_still_answers(served, path)


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize("framing", ["Content-Length", "chunked"])
def test_a_body_of_exactly_the_limit_is_taken(served: Served, path: str, framing: str) -> None:
    spare = MAX_BODY_BYTES - len(json.dumps(mended(path, {"moderation": {"x": ""}})))
    body = json.dumps(mended(path, {"moderation": {"x": "u" * spare}})).encode()
    pieces = (body[start : start + 60_000] for start in range(0, len(body), 60_000))

    answer = ask(served, "POST", path, body if framing == "Content-Length" else pieces)

    assert len(body) == MAX_BODY_BYTES
    assert answer.status == 200


LARGE: dict[str, tuple[bytes, int, str]] = {
    "50,000 values": (b"[" + b"1," * 50_000 + b"1]", 413, "request_too_large"),
    "30,000 keys": (
        b"{" + ",".join(f'"k{n}": []' for n in range(30_000)).encode() + b"}",
        413,
        "request_too_large",
    ),
    "100,000 levels": (b"[" * DEEP + b"]" * DEEP, 400, "invalid_request"),
    "numbers of 700 places": (b"[" + b",".join([b"0." + b"3" * 700] * 100) + b"]", 400, "invalid_request"),
}


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize(("value", "status", "code"), LARGE.values(), ids=LARGE.keys())
def test_a_body_that_takes_long_to_decode_is_refused(
    served: Served, path: str, value: bytes, status: int, code: str
) -> None:
    free = after_first_brace(b'"moderation": {"a": ' + value + b"}")

    assert_refused(ask(served, "POST", path, free(json.dumps(VALID[path]).encode())), status, code, None)
    assert_still_answers(served, path)


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
def test_a_large_body_of_few_values_is_taken(served: Served, path: str) -> None:
    value = b'["' + b'\\"[{:,' * 100_000 + b'"' + b", 1" * 40_000 + b"]"
    free = after_first_brace(b'"moderation": {"a": ' + value + b"}")

    assert ask(served, "POST", path, free(json.dumps(VALID[path]).encode())).status == 200


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
@pytest.mark.parametrize(("text", "param"), REPEATED.values(), ids=REPEATED.keys())
def test_a_field_that_stands_twice_in_a_large_body_is_refused_by_name(
    served: Served, path: str, text: bytes, param: str
) -> None:
    padding = after_first_brace(b'"moderation": {"padding": "' + b"x" * 100_000 + b'"}')
    if b"moderation" in text:
        padding = after_first_brace(b'"prompt_cache_options": {"padding": "' + b"x" * 100_000 + b'"}')
    body = padding(after_first_brace(text)(json.dumps(VALID[path]).encode()))

    assert_refused(ask(served, "POST", path, body), 400, "invalid_request", param)


def opened(served: Served, request: bytes) -> socket.socket:
    host, port = served.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(request)
    return connection


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
def test_a_declared_length_over_the_limit_is_refused_before_the_body_comes(served: Served, path: str) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {served.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {10**12}\r\n\r\n"
    )

    with opened(served, head.encode()) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    assert_still_answers(served, path)


def test_a_client_that_leaves_within_its_body_hurts_nobody(served: Served) -> None:
    head = (
        f"POST {RESPONSES} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {served.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    )

    for _ in range(20):
        opened(served, head.encode() + b'{"model": ').close()

    assert_still_answers(served, RESPONSES)


KEY = "mvra_live_" + "A" * 39
WRONG_KEYS: dict[str, tuple[str | None, str]] = {
    "no header": (None, "Authorization"),
    "an empty header": ("", "Authorization"),
    "another scheme": ("Basic dXNlcjpwYXNz", "Bearer"),
    "the bare key": (KEY, "Bearer"),
    "no key behind the scheme": ("Bearer ", ""),
    "an OpenAI key": ("Bearer sk-abcdef", "mvra_live_"),
    "a key cut short": ("Bearer mvra_live_abc", "mistyped"),
    "a key with a wrong checksum": (f"Bearer {KEY}", "mistyped"),
    "a very long key": ("Bearer mvra_live_" + "A" * 20_000, "mistyped"),
    "letters beyond ASCII": ("Bearer mvra_live_\xff\xe9", "mistyped"),
}
PROTECTED = [
    ("POST", RESPONSES),
    ("POST", CHAT),
    ("GET", "/api/v1/personas"),
    ("GET", "/api/v1/personas/nobody"),
    ("GET", "/api/v1/models"),
    ("GET", "/api/v1/models/nothing"),
    ("GET", "/v1/personas?limit=0"),
]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize(("header", "hint"), WRONG_KEYS.values(), ids=WRONG_KEYS.keys())
def test_without_a_good_key_nothing_is_answered(
    served: Served, method: str, path: str, header: str | None, hint: str
) -> None:
    headers = {} if header is None else {"Authorization": header}

    answer = ask(served, method, path, "not even JSON" if method == "POST" else None, headers, key=False)

    assert_refused(answer, 401, "unauthorized", None)
    assert hint in answer.error["message"]
    assert header is None or len(header) < 10 or header[7:] not in answer.body.decode()


@pytest.mark.parametrize("kind", ["revoked", "expired"])
def test_a_key_that_is_over_is_refused_and_told_why(serve: Serve, kind: str) -> None:
    served = serve()
    key = used_up_key(served, kind)

    answer = ask(served, "POST", CHAT, json.dumps(VALID[CHAT]), {"Authorization": f"Bearer {key}"}, key=False)

    assert_refused(answer, 401, "unauthorized", None)
    assert kind in answer.error["message"]


def used_up_key(served: Served, kind: str) -> str:
    async def make() -> str:
        database = Database.open(served.settings)
        try:
            workspace_id = await find_first_workspace_id(database)
            assert workspace_id is not None
            made_at = time.time() - 3600
            async with Keyring(database, clock=lambda: made_at) as keyring:
                new = await keyring.create(
                    workspace_id, "over", "live", int(made_at) + 60 if kind == "expired" else None
                )
                if kind == "revoked":
                    await keyring.revoke(workspace_id, new.text)
                return new.text
        finally:
            await database.close()

    return asyncio.run(make())


def test_a_key_well_made_but_unknown_is_refused(served: Served) -> None:
    key = make_key_text("live").text

    answer = ask(served, "GET", "/api/v1/models", headers={"Authorization": f"Bearer {key}"}, key=False)

    assert_refused(answer, 401, "unauthorized", None)
    assert key not in answer.body.decode()


@pytest.mark.parametrize("path", [RESPONSES, CHAT])
def test_the_key_is_checked_before_the_body_is_read(served: Served, path: str) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    )

    with opened(served, head.encode()) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


QUERIES: list[tuple[str, int, str]] = [
    ("limit=0", 422, "limit"),
    ("limit=101", 422, "limit"),
    ("limit=-1", 422, "limit"),
    ("limit=1.5", 422, "limit"),
    ("limit=1e1", 422, "limit"),
    ("limit=ten", 422, "limit"),
    ("limit=", 422, "limit"),
    ("limit=%D9%A3", 422, "limit"),
    ("limit=%FF", 422, "limit"),
    ("limit=" + "9" * 5_000, 422, "limit"),
    ("limit=5&limit=6", 400, "limit"),
    ("custom=yes", 422, "custom"),
    ("custom=1", 422, "custom"),
    ("expert=TRUE", 422, "expert"),
    ("expert=", 422, "expert"),
    ("cursor=nobody", 400, "cursor"),
    ("cursor=", 400, "cursor"),
    ("cursor=%00", 400, "cursor"),
    ("page=2", 400, "page"),
    ("Limit=5", 400, "Limit"),
    ("=5", 400, ""),
    ("%F0%9F%98%80=1", 400, "\U0001f600"),
]


@pytest.mark.parametrize(("query", "status", "param"), QUERIES, ids=name_of)
def test_a_query_that_does_not_fit_is_refused_by_name(
    served: Served, query: str, status: int, param: str
) -> None:
    answer = ask(served, "GET", f"/api/v1/personas?{query}")

    assert_refused(answer, status, CODES[status], param)
    assert ask(served, "GET", "/api/v1/personas").status == 200


@pytest.mark.parametrize("persona_id", ["nobody", "%00", "%FF", "..%2F..", "c" * 5_000, "%F0%9F%98%80"])
def test_an_unknown_persona_is_not_found(served: Served, persona_id: str) -> None:
    answer = ask(served, "GET", f"/api/v1/personas/{persona_id}")

    code = "not_found" if "%2F" in persona_id else "persona_not_found"
    assert_refused(answer, 404, code, None if "%2F" in persona_id else "persona_id")


def test_an_unknown_model_is_not_found(served: Served) -> None:
    assert_refused(ask(served, "GET", "/api/v1/models/gpt-5"), 404, "not_found", "model")


@pytest.mark.parametrize("path", ["/api/v1", "/api/v2/responses", "/api/v1/embeddings", "/%00", "/x" * 4_000])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_is_not_found(served: Served, method: str, path: str) -> None:
    assert_refused(ask(served, method, path), 404, "not_found", None)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", RESPONSES, "POST"),
        ("DELETE", RESPONSES, "POST"),
        ("PUT", CHAT, "POST"),
        ("OPTIONS", CHAT, "POST"),
        ("POST", "/api/v1/usage", "GET"),
        ("PATCH", "/api/v1/models", "GET"),
        ("TRACE", "/api/v1/models", "GET"),
        ("PUT", "/api/v1/personas", "GET, HEAD, POST"),
        ("PUT", "/api/v1/personas/cnobody", "DELETE, GET, HEAD, PATCH"),
    ],
)
def test_a_method_that_is_not_there_is_refused_with_those_that_are(
    served: Served, method: str, path: str, allowed: str
) -> None:
    answer = ask(served, method, path)

    assert_refused(answer, 405, "method_not_allowed", None)
    assert allowed in answer.headers["allow"]


@pytest.mark.parametrize("path", ["/api/v1/personas", "/api/v1/models", "/health/live", "/openapi.json"])
def test_head_answers_as_get_without_the_body(served: Served, path: str) -> None:
    head, get = ask(served, "HEAD", path), ask(served, "GET", path)

    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(get.body))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [RESPONSES, CHAT])
def test_what_nobody_foresaw_is_a_500_that_gives_nothing_away(serve: Serve, path: str, stream: bool) -> None:
    served = serve(ScriptedModel(["x"], fail_after=-1, failure=ValueError("the secret plan")))

    answer = ask(served, "POST", path, json.dumps({**VALID[path], "stream": stream}))

    assert_refused(answer, 500, "internal_error", None)
    assert b"secret" not in answer.body


def test_bytes_that_are_no_http_hurt_nobody(served: Served) -> None:
    for junk in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ):
        with opened(served, junk) as connection:
            assert not connection.recv(100).startswith(b"HTTP/1.1 5")

    assert_still_answers(served, CHAT)
