"""
Write the pages of the API's reference from /openapi.json.

    .venv/bin/python -m docs_site.write_reference      writes docs/reference/api/*.md

Each operation has its text, its parameters, the members of its body as a tree, the same call in three
languages, the recorded answer, and its errors.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from mavera.api.http.descriptions import load_examples
from mavera.api.http.openapi import openapi_document
from mavera.app import OPERATIONS, PREFIXES

FOLDER = Path(__file__).parents[1] / "docs" / "reference" / "api"
# A tree that goes deeper is no longer read.
_DEEPEST = 3
_LONGEST_ANSWER = 60
_REF = "#/components/schemas/"
_BASE = "http://127.0.0.1:8000"
_PYTHON_SETUP = """\
import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("MAVERA_BASE_URL", "http://127.0.0.1:8000/api/v1"),
    api_key=os.environ["MAVERA_API_KEY"],
)
"""
_JAVASCRIPT_SETUP = """\
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.env.MAVERA_BASE_URL ?? "http://127.0.0.1:8000/api/v1",
  apiKey: process.env.MAVERA_API_KEY,
});
"""

_ABOUT = (
    "Each operation has a section with its parameters, its errors, and the same call in curl, Python and "
    "JavaScript. The answers come from a real server with the scripted model. "
    "[The API](../api.md) explains what all operations share."
)

Document = Mapping[str, Any]


def write_pages() -> dict[str, str]:
    """Return each page by its file's name: `index.md`, and one for each tag."""
    document = openapi_document(OPERATIONS, PREFIXES[0])
    by_tag: dict[str, list[tuple[str, str, Document]]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            by_tag.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    pages = {f"{name_file(tag)}.md": _write_tag(tag, entries, document) for tag, entries in by_tag.items()}
    return {"index.md": _write_index(by_tag), **pages}


def name_file(tag: str) -> str:
    """Return the name of a tag's page, such as `chat-completions`."""
    return re.sub(r"[^a-z0-9]+", "-", tag.lower()).strip("-")


def _write_index(by_tag: Mapping[str, list[tuple[str, str, Document]]]) -> str:
    lines = [
        "# API reference",
        "",
        _ABOUT,
        "",
        "| Call | What it does |",
        "|---|---|",
    ]
    for tag, entries in by_tag.items():
        for method, path, operation in entries:
            anchor = _make_anchor(operation["summary"])
            lines.append(f"| `{method} {path}` | [{operation['summary']}]({name_file(tag)}.md#{anchor}) |")
    return "\n".join(lines) + "\n"


def _write_tag(tag: str, entries: list[tuple[str, str, Document]], document: Document) -> str:
    blocks = [f"# {tag}"]
    for method, path, operation in entries:
        blocks += _write_operation(method, path, operation, document)
    return "\n\n".join(blocks) + "\n"


def _write_operation(method: str, path: str, operation: Document, document: Document) -> Iterator[str]:
    yield f"## {operation['summary']}"
    yield f"`{method} {path}`"
    if "description" in operation:
        yield str(operation["description"])
    if "parameters" in operation:
        yield _write_parameters(operation["parameters"])
    body: Any = None
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        body = content["example"]
        yield "The body is a JSON object:"
        yield "\n".join(_draw_members(content["schema"], document, 0, frozenset()))
    yield from _write_calls(method, path, operation, body)
    yield from _write_answer(operation, document)
    yield _write_errors(operation["responses"])


def _write_parameters(parameters: list[Document]) -> str:
    lines = ["| Parameter | In | Meaning |", "|---|---|---|"]
    lines += [
        f"| `{parameter['name']}` | {parameter['in']} | {_escape_cell(parameter['description'])} |"
        for parameter in parameters
    ]
    return "\n".join(lines)


def _draw_members(schema: Document, document: Document, depth: int, above: frozenset[str]) -> Iterator[str]:
    """Yield a line for each member, deeper ones indented; an object inside itself is not drawn again."""
    required = set(schema_of(schema, document).get("required", ()))
    for name, member in schema_of(schema, document).get("properties", {}).items():
        needed = ", required" if name in required else ""
        kind = _name_kind(member, document)
        yield f"{'  ' * depth}- `{name}` ({kind}{needed}): {member.get('description', '')}".rstrip(": ")
        inner = _list_objects(member, document)
        if depth + 1 < _DEEPEST and len(inner) == 1 and inner[0] not in above:
            deeper = {"$ref": _REF + inner[0]}
            yield from _draw_members(deeper, document, depth + 1, above | {inner[0]})


def schema_of(schema: Document, document: Document) -> Document:
    """Return the schema itself, where it is a reference."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].removeprefix(_REF)]
    return schema


def _list_objects(schema: Document, document: Document) -> list[str]:
    """Return the names of the objects that a member may be or contain."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REF)
        return [name] if "properties" in document["components"]["schemas"][name] else []
    parts = [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else [])]
    return [name for part in parts for name in _list_objects(part, document)]


def _name_kind(schema: Document, document: Document) -> str:
    if "$ref" in schema:
        resolved = schema_of(schema, document)
        return "object" if "properties" in resolved else _name_kind(resolved, document)
    if "anyOf" in schema:
        kinds = [_name_kind(part, document) for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"] if value is not None)
    if schema.get("type") == "array":
        inner = _name_kind(schema["items"], document) if "items" in schema else ""
        return f"list of {inner}" if inner else "list"
    kind = schema.get("type", "anything")
    kinds = [kind] if isinstance(kind, str) else [part for part in kind if part != "null"]
    return " or ".join(kinds) + _name_bounds(schema)


def _name_bounds(schema: Document) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low:,} to {high:,}"
    if schema.get("maxLength"):
        return f", at most {schema['maxLength']:,} characters"
    return ""


def _write_calls(method: str, path: str, operation: Document, body: Any) -> Iterator[str]:
    filled, query = _fill_path(path, operation)
    yield "With curl:"
    yield f"```sh\n{_write_curl(method, filled, query, body, needs_key='security' in operation)}\n```"
    if not path.startswith(PREFIXES[0]):
        return
    below = filled.removeprefix(PREFIXES[0])
    yield "In Python:"
    yield f"```python\n{_PYTHON_SETUP}\n{write_python(method, below, query, body)}\n```"
    yield "In JavaScript:"
    yield f"```javascript\n{_JAVASCRIPT_SETUP}\n{write_javascript(method, below, query, body)}\n```"


def _fill_path(path: str, operation: Document) -> tuple[str, dict[str, Any]]:
    query: dict[str, Any] = {}
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
        if parameter["in"] == "query" and parameter["name"] in ("ids", "format", "search", "name"):
            query[parameter["name"]] = parameter["example"]
    return path, query


def _write_curl(method: str, path: str, query: Mapping[str, Any], body: Any, *, needs_key: bool) -> str:
    asked = urlencode(query, safe=",")
    address = f"{_BASE}{path}" + (f"?{asked}" if asked else "")
    lines = [f'curl "{address}"'] if method == "GET" else [f'curl -X {method} "{address}"']
    if needs_key:
        lines.append('  -H "Authorization: Bearer $MAVERA_API_KEY"')
    if body is not None:
        lines.append('  -H "Content-Type: application/json"')
        text = json.dumps(body, indent=2, ensure_ascii=False).replace("'", "'\\''")
        lines.append("  -d '" + text.replace("\n", "\n  ") + "'")
    return " \\\n".join(lines)


def write_python(method: str, path: str, query: Mapping[str, Any], body: Any) -> str:
    """Return the call with OpenAI's Python client."""
    options = "".join(f", {option}" for option in _list_python_options(query, body))
    return _format_python(
        f'answer = client.{method.lower()}("{path}", cast_to=object{options})\nprint(answer)'
    )


def _format_python(code: str) -> str:
    command = [str(Path(sys.executable).parent / "ruff"), "format", "--line-length", "100", "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=True)
    return done.stdout.rstrip()


def _list_python_options(query: Mapping[str, Any], body: Any) -> Iterator[str]:
    if query:
        yield f"options={{'params': {dict(query)!r}}}".replace("'", '"')
    if body is not None:
        yield f"body={_indent_python(body)}"


def _indent_python(body: Any) -> str:
    text = json.dumps(body, indent=4, ensure_ascii=False)
    return re.sub(r"\b(true|false|null)\b(?=[,\n])", lambda match: _PYTHON_WORDS[match[1]], text)


_PYTHON_WORDS = {"true": "True", "false": "False", "null": "None"}


def write_javascript(method: str, path: str, query: Mapping[str, Any], body: Any) -> str:
    """Return the call with OpenAI's JavaScript client."""
    parts = []
    if query:
        parts.append(f"query: {json.dumps(dict(query))}")
    if body is not None:
        parts.append(f"body: {json.dumps(body, indent=2, ensure_ascii=False)}")
    options = f", {{ {', '.join(parts)} }}" if parts else ""
    return f'const answer = await client.{method.lower()}("{path}"{options});\nconsole.log(answer);'


def _write_answer(operation: Document, document: Document) -> Iterator[str]:
    status, answer = next(
        (status, answer) for status, answer in operation["responses"].items() if status < "300"
    )
    example = load_examples().get(operation["operationId"])
    if example is None:
        yield f"The status is {status}."
    elif isinstance(example, str):
        yield f"The answer has the status {status}:"
        yield f"```text\n{_shorten(example.strip())}\n```"
    else:
        yield f"The answer has the status {status}:"
        yield f"```json\n{_shorten(json.dumps(example, indent=2, ensure_ascii=False))}\n```"
    content = answer.get("content", {})
    if "text/event-stream" in content:
        yield from _write_events(content["text/event-stream"]["schema"]["oneOf"], document)


def _write_events(events: list[Document], document: Document) -> Iterator[str]:
    yield "With `stream`, the answer comes as server-sent events, and the last `data` is `[DONE]`:"
    lines = ["| Event | Meaning |", "|---|---|"]
    for event in events:
        schema = schema_of(event, document)
        kind = schema["properties"].get("type", schema["properties"].get("object", {}))
        name = (kind.get("examples") or [""])[0]
        lines.append(f"| `{name}` | {_escape_cell(schema.get('description', ''))} |")
    yield "\n".join(lines)


def _write_errors(responses: Mapping[str, Document]) -> str:
    lines = ["| Status | Code | Cause |", "|---|---|---|"]
    for status, answer in responses.items():
        if status < "400" or "examples" not in answer["content"]["application/json"]:
            continue
        for code, example in answer["content"]["application/json"]["examples"].items():
            lines.append(f"| {status} | [`{code}`](../errors.md) | {_escape_cell(example['summary'])} |")
    return "\n".join(lines)


def _shorten(text: str) -> str:
    lines = text.splitlines()
    if len(lines) <= _LONGEST_ANSWER:
        return "\n".join(lines)
    return "\n".join([*lines[:_LONGEST_ANSWER], f"… {len(lines) - _LONGEST_ANSWER} further lines"])


def _make_anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _escape_cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def main() -> None:
    """Write the pages, and remove those of tags that are gone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    pages = write_pages()
    for gone in {path.name for path in FOLDER.glob("*.md")} - set(pages):
        (FOLDER / gone).unlink()
    for name, text in pages.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{len(pages)} pages in docs/reference/api")


if __name__ == "__main__":
    main()
