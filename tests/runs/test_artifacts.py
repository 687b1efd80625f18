"""Artifact tags are well formed whatever the model writes and however its text is cut."""

import html
import itertools
import re
from collections.abc import Iterable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mavera.core.artifacts import Artifact
from mavera.core.events import (
    Event,
    RunCompleted,
    RunFailed,
    RunStarted,
    TextDelta,
    TokenLogprob,
    ToolCallStarted,
)
from mavera.core.usage import Usage
from mavera.errors import APIError
from mavera.runs.artifacts import ArtifactStream, ArtifactWriter

TAG = re.compile(r"<(/?)artifact", re.I)
WHOLE = re.compile(
    r'<artifact identifier="([^"<>]+)" type="([a-z]+)" title="([^"<>]*)" language="([^"<>]*)">\n'
    r"(.*?)</artifact>",
    re.S,
)

# What tempts the writer: marks, tags, halves of them, and plain words.
PIECES = st.sampled_from(
    [
        *("```", "``", "`", "````", "~~~", "python", " A title", "markdown", "\n", "\n\n", " ", "    ", "\t"),
        *(
            "<artifact",
            "<artifact ",
            '<artifact type="code" title="T">',
            "</artifact>",
            "</artifact",
            ">",
            "<",
        ),
        *(
            "</",
            "<art",
            "/>",
            "&lt;artifact",
            '"',
            "'",
            "word",
            "<svg>",
            "{",
            "x < y",
            "## Heading\n",
            "\r\n",
        ),
        *("```python\n", "```\n", "```markdown\n", "ſ", "é"),
        *("\n```xml\n<svg>\n```\n", '\n<artifact type="code">\n```python\nx\n```\n</artifact>\n'),
    ]
)
TEXTS = st.lists(PIECES, max_size=24).map("".join)


def written(pieces: Iterable[str]) -> tuple[str, list[Artifact]]:
    writer = ArtifactWriter()
    said = "".join([*(writer.feed(piece) for piece in pieces), writer.end()])
    return said, writer.artifacts


def cut(text: str, places: list[int]) -> list[str]:
    at = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in itertools.pairwise(at)]


@settings(max_examples=600)
@given(TEXTS, st.lists(st.integers(min_value=0)))
@example('<artifact type="code">' + " " * 45 + "\nx", [30])
@example("```\n" + " " * 50 + "\n```", [20])
def test_the_same_text_comes_out_the_same_however_it_is_cut(text: str, places: list[int]) -> None:
    whole = written([text])

    assert written(cut(text, places)) == whole
    assert written(text) == whole


@settings(max_examples=600)
@given(TEXTS)
def test_tags_are_balanced_and_never_nested(text: str) -> None:
    said, artifacts = written([text])

    assert TAG.findall(said) == ["", "/"] * len(artifacts)
    assert len(WHOLE.findall(said)) == len(artifacts)


@settings(max_examples=300)
@given(TEXTS)
def test_the_list_says_what_the_text_says(text: str) -> None:
    said, artifacts = written([text])

    for found, artifact in zip(WHOLE.findall(said), artifacts, strict=True):
        members = (artifact.identifier, artifact.type, artifact.title, artifact.language)
        assert tuple(html.unescape(value) for value in found[:4]) == members
        escaped = re.sub(r"<(/?artifact)", r"&lt;\1", artifact.content, flags=re.I | re.A)
        assert found[4].removesuffix("\n") == escaped
    assert len({artifact.identifier for artifact in artifacts}) == len(artifacts)


@given(st.text(alphabet="abc <>/`\n", max_size=200).filter(lambda text: "```" not in text))
def test_text_without_blocks_is_left_as_it_is(text: str) -> None:
    assert written(text) == (text, [])


def test_a_fence_becomes_an_artifact_with_its_title() -> None:
    said, artifacts = written(["Sure.\n```python Sorting a list\nprint(1)\n```\nEnjoy."])

    assert said == (
        'Sure.\n<artifact identifier="sorting-a-list" type="code" title="Sorting a list" language="python">\n'
        "print(1)\n</artifact>\nEnjoy."
    )
    assert artifacts == [Artifact("sorting-a-list", "code", "Sorting a list", "python", "print(1)")]


def test_the_type_follows_from_the_language_and_where_there_is_none_from_the_text() -> None:
    def kind(text: str) -> tuple[str, str]:
        artifact = written([text])[1][0]
        return artifact.type, artifact.language

    assert kind("```js\n1\n```") == ("code", "js")
    assert kind("```html\n<p>\n```") == ("html", "html")
    assert kind('```xml\n<svg width="1">\n```') == ("svg", "svg")
    assert kind("```\ngraph TD\nA-->B\n```") == ("mermaid", "mermaid")
    assert kind("```csv Prices\na,b\n```") == ("csv", "csv")
    assert kind("```json\n{}\n```") == ("json", "json")
    assert kind("~~~markdown\n# Hi\n~~~") == ("document", "markdown")
    assert kind("```\n<!DOCTYPE html>\n```") == ("html", "html")
    assert kind('<artifact type="application/json">{}</artifact>') == ("json", "json")


def test_the_title_is_taken_from_the_heading_above_where_the_fence_has_none() -> None:
    texts = [
        "## Price list\n\n```csv\na,b\n```",
        "**Price list:**\n```csv\na,b\n```",
        "Hm:\n```csv\na,b\n```",
    ]

    assert [written([text])[1][0].title for text in texts] == ["Price list", "Price list", "CSV data"]


def test_titles_are_escaped_and_identifiers_made_unique() -> None:
    said, artifacts = written(["```html \"A\" <b> & 'c'\nx\n```\n" * 2])

    assert [artifact.identifier for artifact in artifacts] == ["a-b-c", "a-b-c-2"]
    assert "&lt;b&gt; &amp; &#x27;c" in said


def test_content_cannot_break_out() -> None:
    hostile = 'x = "</artifact>"\n<artifact type="html">\n</ARTIFACT >\n'

    said, artifacts = written([f"```python\n{hostile}```\n</artifact>"])

    assert len(TAG.findall(said)) == 2
    assert artifacts[0].content == hostile.removesuffix("\n")
    assert said.endswith("&lt;/artifact>")


def test_a_tag_of_the_models_own_is_put_right() -> None:
    tag = '<ARTIFACT title=\'A & B\' type="text/html" onclick="x">'

    said, artifacts = written([f"Here:\n{tag}\n```html\n<p>\n```\n</artifact>\nDone."])

    assert said == (
        'Here:\n<artifact identifier="a-b" type="html" title="A &amp; B" language="html">\n'
        "<p>\n</artifact>\n\nDone."
    )
    assert artifacts[0].content == "<p>"


def test_a_document_may_hold_fences_of_its_own() -> None:
    document = "# Guide\n```bash\nls\n```\nThe end.\n"

    said, artifacts = written([f"```markdown Guide\n{document}```\nBye."])

    assert artifacts == [Artifact("guide", "document", "Guide", "markdown", document.removesuffix("\n"))]
    assert said.endswith("</artifact>\nBye.")


def test_a_block_inside_a_list_loses_its_indent() -> None:
    assert written(["1. This:\n   ```python\n   if x:\n       y\n   ```\n"])[1][0].content == "if x:\n    y"


def test_an_answer_cut_off_inside_a_block_is_closed_and_says_so() -> None:
    said, artifacts = written(["```python\nprint("])

    assert said.endswith("\nprint(\n</artifact>")
    assert not artifacts[0].complete


def streamed(*events: Event) -> list[Event]:
    stream = ArtifactStream()
    return [told for event in events for told in stream.feed(event)]


def test_a_run_that_fails_or_calls_a_tool_leaves_no_artifact_open() -> None:
    for last in (RunFailed(APIError("Down.")), ToolCallStarted(0, "call_1", "f")):
        events = streamed(RunStarted(), TextDelta("```python\nprint(1)\n# and then"), last)

        said = "".join(event.text for event in events if isinstance(event, TextDelta))
        assert said.endswith("# and then\n</artifact>")
        assert events[-1] == last


def test_no_logprob_is_lost_where_text_is_held_back() -> None:
    tokens = [TokenLogprob(text, -0.1) for text in ("``", "`py", "\nx")]

    events = streamed(
        *(TextDelta(token.token, (token,)) for token in tokens), RunCompleted("length", Usage())
    )

    deltas = [event for event in events if isinstance(event, TextDelta)]
    assert [token for delta in deltas for token in delta.logprobs] == tokens
    assert isinstance(events[-1], RunCompleted)
    assert events[-1].artifacts
