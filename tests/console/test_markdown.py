"""Answers as HTML: what they may become, and what they never become."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.console.analysis_view import read_analysis
from mavera.console.highlights import Mark
from mavera.console.markdown import MAX_CHARACTERS, render_markdown
from mavera.reading.sentences import split_sentences

ALLOWED = {
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "mark",
    "ol", "p", "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt&colon;alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "<a href='vbscript:x'>x</a>",
    "![x](javascript:alert(1))",
    '![x](http://evil.example/a.png "onload=alert(1)")',
    "```html\n<script>alert(1)</script>\n```",
    "<style>body{display:none}</style>",
    "<iframe src=https://evil.example></iframe>",
    "<svg><script>alert(1)</script></svg>",
    '"><script>alert(1)</script>',
    "<mark id=x class=evidence onclick=alert(1)>x</mark>",
    "[x](https://e.example 'a\" onmouseover=\"alert(1)')",
    "<form action=/console/keys method=post><button>x</button></form>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<!-- --><base href=https://evil.example>",
]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader


@pytest.mark.parametrize("text", HOSTILE)
def test_an_answer_never_becomes_active_markup(text: str) -> None:
    found = read(render_markdown(text, [Mark("evidence", "b1", text, text)]))

    assert found.tags <= ALLOWED
    assert {name for _, name, _ in found.attributes} <= {"href", "title", "target", "rel", "class", "id"}
    links = [value for _, name, value in found.attributes if name == "href"]
    assert all(re.match(r"https?://|mailto:", link) for link in links)


@given(st.lists(st.sampled_from([*HOSTILE, "\n\n", "**", "`", "> ", "1. ", "| a |\n|-|\n"]), max_size=8))
def test_no_combination_becomes_active_markup(parts: list[str]) -> None:
    text = "".join(parts)
    marks = [Mark("insight", "s1", part, part) for part in parts]

    assert read(render_markdown(text, marks)).tags <= ALLOWED


def test_a_remote_image_is_a_link_and_no_request() -> None:
    found = read(render_markdown("See ![the chart](https://e.example/a.png)."))

    assert "img" not in found.tags
    assert ("a", "href", "https://e.example/a.png") in found.attributes
    assert "the chart" in found.text


def test_markdown_is_drawn() -> None:
    html = render_markdown("# One\n\n- **two**\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n~~three~~ `four`")

    assert {"h1", "ul", "li", "strong", "table", "td", "s", "code"} <= read(html).tags


def test_bidi_characters_stay_text() -> None:
    text = "abc \u202edcba\u202c def"

    assert "".join(read(render_markdown(text)).text).strip() == text


@pytest.mark.parametrize("text", ["[" * 100_000, "**a" * 33_000, "> " * 500 + "deep", "word " * 20_000])
def test_long_answers_are_drawn_in_full(text: str) -> None:
    shown = "".join(read(render_markdown(text)).text)

    assert shown.count("[") == text.count("[")
    assert shown.count("a") == text.count("a")
    assert "word" in shown if "word" in text else True


def test_quotes_that_are_nested_deeply_keep_their_text() -> None:
    assert "deep" in render_markdown("> " * 60 + "deep")


def test_an_answer_beyond_the_bound_is_shown_as_it_is() -> None:
    text = "<b>" + "x" * MAX_CHARACTERS

    assert render_markdown(text).startswith("<pre>&lt;b&gt;xxx")


words = st.text(alphabet="ab .*_`>#-\n!?", max_size=120)


@given(words, st.data())
def test_marks_change_no_text(text: str, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120)), max_size=5))
    marks = [Mark("evidence", f"b{n}", text[a:b]) for n, (a, b) in enumerate(cuts)]

    marked, plain = read(render_markdown(text, marks)), read(render_markdown(text))

    assert "".join(marked.text) == "".join(plain.text)
    ids = [value for _, name, value in marked.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_overlapping_marks_cover_their_sentences() -> None:
    text = "I **always** buy the\nsame brand. It is *safe*. I always buy it."
    analysis = {
        "key_insights": ["I always buy the same brand."],
        "insight_sources": [{"sentences": [0, 1]}],
        "biases": [
            {
                "name": "status quo bias",
                "probability": 0.65,
                "evidence": ["always buy", "brand. It is *safe*"],
            }
        ],
        "stance": {"score": 0.5, "sentence": 1},
    }

    view = read_analysis(analysis, answer=text, place="a7")
    assert view is not None
    html = render_markdown(text, view.marks)

    assert 'class="insight" id="a7-s0"' in html
    assert 'class="evidence" id="a7-b0-0" title="status quo bias"' in html
    assert 'class="evidence" id="a7-b0-1"' in html
    assert 'class="stance" id="a7-stance"' in html
    assert re.sub(r"<[^>]+>", "", html).split() == [
        "I",
        "always",
        "buy",
        "the",
        "same",
        "brand.",
        "It",
        "is",
        "safe.",
        "I",
        "always",
        "buy",
        "it.",
    ]


def test_a_sentence_that_stands_twice_is_marked_at_its_place() -> None:
    text = "Yes. It is fine. Yes."
    assert [one.text for one in split_sentences(text)] == ["Yes.", "It is fine.", "Yes."]
    raw = {"key_insights": ["Yes.", "Yes."], "insight_sources": [{"sentences": [0]}, {"sentences": [2]}]}

    view = read_analysis(raw, answer=text, place="a")
    assert view is not None

    assert re.findall(r'id="(a-s\d)"[^>]*>(\w+)', render_markdown(text, view.marks)) == [
        ("a-s0", "Yes"),
        ("a-s2", "Yes"),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"error": {"code": "analysis_failed"}},
        {"emotion": None, "biases": None, "method": [], "stance": "yes", "news_relevance": 5},
        {
            "emotion": {"arousal": "high", "raw": 5},
            "biases": [None, {"name": 5}, {"name": "x", "evidence": 7}],
        },
        {"insight_sources": [{"sentences": ["a", -1, 99]}], "key_insights": ["x", None]},
        {"stance": {"value": 2, "distribution": [1, "x"], "sentence": True}, "new_member": {"a": 1}},
    ],
)
def test_members_of_another_version_are_left_out(raw: dict[str, object]) -> None:
    view = read_analysis(raw, answer="One sentence.", place="a")

    assert view is not None
    assert all(0 <= scale.left <= 100 and 0 <= scale.width <= 100 for scale in view.scales)


def test_there_is_nothing_to_draw_without_an_analysis() -> None:
    assert read_analysis(None, answer="Yes.", place="a") is None


def test_the_most_probable_emotions_are_drawn() -> None:
    probabilities = {"joy": 0.2, "neutral": 0.6, "fear": 0.01, "anger": 0.06, "sadness": 0.13}
    newer = read_analysis({"emotion": {"probabilities": probabilities}}, answer="x", place="a")
    older = read_analysis({"emotion": {"primary_emotion": "joy"}}, answer="x", place="a")

    assert newer is not None
    assert older is not None
    assert [(one.name, one.percent) for one in newer.emotions] == [
        ("neutral", 60),
        ("joy", 20),
        ("sadness", 13),
    ]
    assert [(one.name, one.percent) for one in older.emotions] == [("joy", None)]


def test_members_of_newer_versions_are_drawn() -> None:
    raw = {
        "confidence": 7.2,
        "expressed_certainty": 3,
        "emotion": {
            "emotional_valence": 8,
            "arousal": 2,
            "dominance": 5.5,
            "raw": {"emotional_valence": 0.31},
        },
        "stance": {
            "verdict": "depends",
            "score": -0.4,
            "mixed": True,
            "distribution": [0.1, 0.2, 0.3, 0.2, 0.2],
        },
    }

    view = read_analysis(raw, answer="One sentence.", place="a")
    assert view is not None
    drawn = {scale.name: scale for scale in view.scales}

    assert drawn["Expressed certainty"].value == 3
    assert drawn["Valence"].note == "raw 0.31"
    assert (drawn["Valence"].left, drawn["Valence"].width) == (50, 27.78)
    assert drawn["Dominance"].width == 0
    assert view.stance is not None
    assert (view.stance.scale.left, view.stance.scale.width) == (30, 20)
    assert view.stance.is_mixed
    assert view.stance.verdict == "depends"
    assert len(view.stance.shares) == 5
