"""
Nothing that a caller sends may hold the event loop for more than 50 ms: what does, and for how long?

    python -m bench.hold [--only WORD …] [--quick] [--times 3] [--json]

Sends hostile and large legitimate requests, one at a time over HTTP and WebSocket, to a server in a process
of its own (`bench.held`) whose model is an upstream of almost no cost. Shown is the least of `--times`
readings of the longest hold: the machine's own pauses fall on some readings, the server's work on all.
The whole table of `tests/support/bad_input.py` is sent as well, and shown as one line for each endpoint.
"""

import argparse
import base64
import http.client
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.support.bad_input import CHAT, RESPONSES, TABLE, UNPARSABLE, VALID, mended
from tests.support.images import png
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bench.report import show
from bench.wire import first_line, process

MOST_MS = 50.0
PERSONAS = "/api/v1/personas"
MB = 1_000_000
FULL = 31 * MB
"""A body just below the default limit of 32 MiB."""

Body = Callable[[], bytes]


def free(value: bytes) -> Body:
    """Return a body that has `value` in a member of which every shape is accepted."""
    return lambda: b'{"model": "mavera-1", "input": "Hm?", "moderation": {"a": ' + value + b"}}"


def said(text: str, **members: Any) -> Body:
    """Return a conversation in which a function's output is `text`."""
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": text}
    body = {"model": "mavera-1", "input": [{"role": "user", "content": "Hm?"}, call, output], **members}
    return lambda: json.dumps(body).encode()


def items(count: int, item: Any) -> Body:
    return lambda: json.dumps({"model": "mavera-1", "input": [item] * count}).encode()


def chat(**members: Any) -> Body:
    return lambda: json.dumps({**VALID[CHAT], **members}).encode()


def schema(properties: int, levels: int = 1) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "string", "description": "A name, as it stands on the order."}
    for _ in range(levels):
        inner = {"type": "object", "properties": {f"p{n}": inner for n in range(properties)}}
    return inner


def tools(count: int, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "function", "name": f"f{n}", "parameters": parameters} for n in range(count)]


def images(count: int, size: int) -> Body:
    """Return a message with `count` images of `size` bytes each, which are PNGs with a tail."""
    head = png(8, 8)
    url = "data:image/png;base64," + base64.b64encode(head + b"\0" * (size - len(head))).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}} for _ in range(count)]
    text = {"type": "text", "text": "Hm?"}
    return chat(messages=[{"role": "user", "content": [text, *parts]}])


def answer_item(number: int) -> dict[str, Any]:
    content = [{"type": "output_text", "text": f"Answer {number}.", "annotations": [], "logprobs": []}]
    return {"type": "message", "id": f"msg_{number}", "status": "completed", "role": "assistant"} | {
        "content": content
    }


def conversation(messages: int) -> Body:
    turns = [
        {"role": "user", "content": "And then?"} if n % 2 == 0 else answer_item(n)
        for n in range(messages - 1)
    ]
    return lambda: json.dumps(
        {"model": "mavera-1", "input": [*turns, {"role": "user", "content": "Hm?"}]}
    ).encode()


def keyed(count: int, text: str = '"k%d":1') -> bytes:
    return b"{" + ",".join(text % n for n in range(count)).encode() + b"}"


HOSTILE: dict[str, tuple[str, Body]] = {
    "500,000 items": (RESPONSES, items(500_000, {"role": "user", "content": ""})),
    "1,000,000 content parts": (
        CHAT,
        chat(messages=[{"role": "user", "content": [{"type": "text", "text": ""}] * 700_000}]),
    ),
    "1,500,000 keys": (RESPONSES, free(keyed(1_500_000))),
    "10,000,000 empty arrays": (RESPONSES, free(b"[" + b"[]," * 10_000_000 + b"[]]")),
    "15,000,000 ones": (RESPONSES, free(b"[" + b"1," * 15_000_000 + b"1]")),
    "10,000,000 empty strings": (RESPONSES, free(b"[" + b'"",' * 10_000_000 + b"1]")),
    "integers of 4,300 digits": (RESPONSES, free(b"[" + b",".join([b"9" * 4_300] * 7_000) + b"]")),
    "numbers of 700 places": (RESPONSES, free(b"[" + b",".join([b"0." + b"3" * 700] * 40_000) + b"]")),
    "a number of 31 MB": (RESPONSES, free(b"9" * FULL)),
    "31 MB of spaces": (RESPONSES, free(b" " * FULL + b"1")),
    "31 MB of line ends, escaped": (RESPONSES, said("\n" * (FULL // 2))),
    "31 MB of quotes, escaped": (RESPONSES, said('"' * (FULL // 2))),
    "31 MB of backslashes, escaped": (RESPONSES, said("\\" * (FULL // 2))),
    "31 MB of \\u escapes": (RESPONSES, said("ü" * (FULL // 6))),
    "31 MB of emoji": (
        RESPONSES,
        lambda: b'{"model": "mavera-1", "input": "' + "😀".encode() * (FULL // 4) + b'"}',
    ),
    "an unknown field of 31 MB": (RESPONSES, lambda: b'{"model": "mavera-1", "' + b"x" * FULL + b'": 1}'),
    "an unknown field of 7 MB": (RESPONSES, lambda: b'{"model": "mavera-1", "' + b"x" * 7 * MB + b'": 1}'),
    "a name of 7 MB twice": (RESPONSES, free(b"{" + b'"%b":1,' % (b"x" * 3 * MB) * 2 + b'"a":1}')),
    "a name twice among 1,500,000": (RESPONSES, free(keyed(1_500_000)[:-1] + b',"k7":1}')),
    "15,000,000 levels": (RESPONSES, free(b"[" * 15_000_000 + b"]" * 15_000_000)),
    "120 levels, 200 times": (RESPONSES, free(b"[" + (b"[" * 120 + b"1" + b"]" * 120 + b",") * 200 + b"1]")),
    "just below every limit": (RESPONSES, items(12_000, {"role": "user", "content": ""})),
    "content parts below the limit": (
        CHAT,
        chat(messages=[{"role": "user", "content": [{"type": "text", "text": ""}] * 16_000}]),
    ),
    "48,000 keys": (RESPONSES, free(keyed(48_000))),
    "8 MB of line ends, escaped": (RESPONSES, said("\n" * 4_100_000)),
    "8 MB of \\u escapes": (RESPONSES, said("\u20ac" * 1_350_000)),
    "a data URL of escapes": (
        CHAT,
        lambda: (
            b'{"model": "mavera-1", "messages": [{"role": "user", "content": [{"type": "image_url", '
            b'"image_url": {"url": "data:image/png;base64,' + b"\\n" * (FULL // 2) + b'"}}]}]}'
        ),
    ),
    "data outside of images": (RESPONSES, said("data:image/png;base64," + "A" * FULL)),
    "64 tools of 78 schemas": (RESPONSES, said("x", tools=tools(64, schema(76)))),
    "one schema of 5,000": (RESPONSES, said("x", tools=tools(1, schema(4_990)))),
    "a schema 31 levels deep": (RESPONSES, said("x", tools=tools(1, schema(1, 31)))),
    "an enum of 2,000,000": (
        RESPONSES,
        said("x", tools=tools(1, {"type": "object", "properties": {"a": {"enum": [*range(2_000_000)]}}})),
    ),
    "an enum of 40,000": (
        RESPONSES,
        said("x", tools=tools(1, {"type": "object", "properties": {"a": {"enum": [*range(40_000)]}}})),
    ),
    "100 patterns that grow": (
        RESPONSES,
        said(
            "x",
            tools=tools(
                1,
                {
                    "type": "object",
                    "properties": {
                        f"p{n}": {"type": "string", "pattern": f"^(a{{1,50}}b{{1,{n + 1}}}){{1,20}}$"}
                        for n in range(99)
                    },
                },
            ),
        ),
    ),
    "100 patterns of 60,000 letters": (
        RESPONSES,
        said(
            "x", tools=tools(1, {"properties": {f"p{n}": {"pattern": "[a-z]" * 12_000} for n in range(99)}})
        ),
    ),
    "a pattern of 7 MB": (
        RESPONSES,
        said("x", tools=tools(1, {"properties": {"a": {"pattern": "a|" * 3_500_000}}})),
    ),
    "patternProperties, 4,000": (
        RESPONSES,
        said("x", tools=tools(1, {"patternProperties": {f"^\\p{{L}}{n}\\w+$": {} for n in range(4_000)}})),
    ),
    "references in a chain, 2,000": (
        RESPONSES,
        said(
            "x",
            tools=tools(
                1,
                {
                    "$ref": "#/$defs/d0",
                    "$defs": {f"d{n}": {"$ref": f"#/$defs/d{min(n + 1, 1_999)}"} for n in range(2_000)},
                },
            ),
        ),
    ),
    "logit_bias of 1,000,000": (CHAT, chat(logit_bias={str(n): 1 for n in range(1_000_000)})),
    "a persona of 31 MB": (
        PERSONAS,
        lambda: json.dumps(
            {"pipeline_type": "advanced", "name": "Ann", "details": {"values": ["x\u200b " * 9] * 500_000}}
        ).encode(),
    ),
    "a persona of 200,000 bytes": (
        PERSONAS,
        lambda: json.dumps(
            {"pipeline_type": "advanced", "name": "Ann", "description": "x\u200by " * 25_000}
        ).encode(),
    ),
}
LEGITIMATE: dict[str, tuple[str, Body]] = {
    "a question": (RESPONSES, lambda: json.dumps(VALID[RESPONSES]).encode()),
    "an image of 20 MB": (CHAT, images(1, 20 * MB)),
    "10 images of 2.3 MB": (CHAT, images(10, 2_300_000)),
    "5 MB of text in an output": (RESPONSES, said("Words, and more of them. " * 200_000)),
    "5 MB of JSON in an output": (RESPONSES, said('{"a": "b", "c": [1, 2]}, ' * 170_000)),
    "5 MB of Chinese in a message": (CHAT, chat(messages=[{"role": "user", "content": "好的。" * 410_000}])),
    "2,000 messages": (RESPONSES, conversation(2_000)),
    "64 tools of 70 schemas, strict": (
        RESPONSES,
        said("x", tools=[{**tool, "strict": True} for tool in tools(64, schema(70))]),
    ),
}


@dataclass
class Held:
    """The server under measurement."""

    url: str
    key: str
    child: "subprocess.Popen[str]"

    def read(self) -> dict[str, float]:
        """Return the longest hold since the last call, in milliseconds."""
        assert self.child.stdin is not None
        assert self.child.stderr is not None
        print(file=self.child.stdin, flush=True)
        for line in self.child.stderr:
            if line.startswith('{"wall_ms"'):
                found: dict[str, float] = json.loads(line)
                return found
        raise RuntimeError("the server ended")


@contextmanager
def held_server() -> Iterator[Held]:
    with (
        tempfile.TemporaryDirectory() as data_dir,
        process("bench.upstream", "--tokens", "2", "--every-ms", "1") as upstream,
    ):
        environment = {
            **os.environ,
            "MAVERA_UPSTREAM_BASE_URL": f"http://127.0.0.1:{first_line(upstream)}/v1",
            "MAVERA_UPSTREAM_MODEL": "m",
            "MAVERA_UPSTREAM_VISION": "true",
            "MAVERA_LOG_LEVEL": "error",
            "MAVERA_PORT": "0",
            "MAVERA_DATA_DIR": data_dir,
        }
        pipes: Mapping[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [sys.executable, "-m", "bench.held"]
        with subprocess.Popen(command, env=environment, text=True, **pipes) as child:
            try:
                url = first_line(child, "mavera at").split()[2].removesuffix("/api/v1")
                key = first_line(child, "Your API key").split()[-1]
                yield Held(url, key, child)
            finally:
                child.terminate()


def post(held: Held, path: str, body: bytes) -> str:
    """Return the status of one request, or what came in its place."""
    connection = http.client.HTTPConnection(held.url.removeprefix("http://"), timeout=120)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {held.key}"}
    headers["Idempotency-Key"] = os.urandom(16).hex()
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        code = (json.loads(answer.read()).get("error") or {}).get("code", "")
        return f"{answer.status} {code}".strip()
    except OSError as error:
        return type(error).__name__
    finally:
        connection.close()


def send(held: Held, body: bytes) -> str:
    """Return the last event's type over a WebSocket, with its status and code if it is an error."""
    url = held.url.replace("http://", "ws://") + RESPONSES
    headers = {"Authorization": f"Bearer {held.key}"}
    message = body.replace(b"{", b'{"type": "response.create", ', 1)
    try:
        with connect(url, additional_headers=headers, max_size=None, compression=None) as websocket:
            websocket.send(message, text=True)
            while True:
                event = json.loads(websocket.recv(timeout=120))
                if event["type"] == "error":
                    return f"{event['status']} {event['error']['code']}"
                if event["type"] in ("response.completed", "response.failed"):
                    return str(event["type"])
    except (ConnectionClosed, TimeoutError, UnicodeDecodeError) as error:
        return type(error).__name__


def least(held: Held, times: int, ask: Callable[[], str]) -> tuple[str, float, float]:
    readings = []
    for _ in range(times):
        held.read()
        answered = ask()
        readings.append(held.read())
    return answered, min(r["wall_ms"] for r in readings), min(r["busy_ms"] for r in readings)


def measure(held: Held, chosen: dict[str, tuple[str, Body]], times: int) -> Iterator[dict[str, Any]]:
    for name, (path, make) in chosen.items():
        body = make()
        doors: dict[str, Callable[[], str]] = {"HTTP": partial(post, held, path, body)}
        if path == RESPONSES:
            doors["WebSocket"] = partial(send, held, body)
        for door, ask in doors.items():
            answered, wall, busy = least(held, times, ask)
            row = {"request": name, "door": door, "MB": len(body) / MB, "answer": answered}
            yield {**row, "held ms": wall, "busy ms": busy}
            print(f"{name}, {door}: {answered}, {wall:.0f} ms, {busy:.0f} ms", file=sys.stderr, flush=True)


def measure_table(held: Held, times: int) -> Iterator[dict[str, Any]]:
    """Send every request of the table of bad input, and show the one that held longest of each endpoint."""
    bodies = [(path, json.dumps(mended(path, fields)).encode()) for path, fields, _, _ in TABLE]
    bodies += [
        (path, alter(json.dumps(VALID[path]).encode()))
        for path in (RESPONSES, CHAT)
        for alter in UNPARSABLE.values()
    ]
    for path in (RESPONSES, CHAT):
        of_path = [body for each, body in bodies if each == path]
        found = [(*least(held, times, partial(post, held, path, body)), body) for body in of_path]
        answered, wall, busy, body = max(found, key=lambda one: one[2])
        name = f"the worst of {len(of_path)} in the table: {body[:60].decode(errors='replace')}"
        row = {"request": name, "door": "HTTP", "MB": len(body) / MB, "answer": answered}
        yield {**row, "held ms": wall, "busy ms": busy}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="WORD", help="the requests whose names have these words")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chosen = {
        name: made
        for name, made in {**LEGITIMATE, **HOSTILE}.items()
        if not options.only or any(word in name for word in options.only)
    }
    with held_server() as held:
        post(held, *_first())
        rows = list(measure(held, chosen, options.times))
        if not options.only:
            rows += measure_table(held, 1)
    longest = max(rows, key=lambda row: row["busy ms"])
    summary = {
        "longest hold, ms": longest["busy ms"],
        "of": longest["request"],
        "at most 50 ms": longest["busy ms"] <= MOST_MS,
    }
    show("how long one request holds the event loop", rows, as_json=options.json, summary=summary)
    sys.exit(0 if longest["busy ms"] <= MOST_MS else os.EX_SOFTWARE)


def _first() -> tuple[str, bytes]:
    """Return a request that warms everything up."""
    return RESPONSES, json.dumps(VALID[RESPONSES]).encode()


if __name__ == "__main__":
    main()
