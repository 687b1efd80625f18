"""
Turn an answer into HTML that is safe to show, with marks on the sentences that an analysis names.

    Markdown → tokens (markdown-it-py, no raw HTML) → marks (`highlights.py`) → HTML → cleaned (nh3)

Nothing of an answer becomes markup that it did not write as Markdown. A remote image becomes a link, because
loading it would tell its server who reads the answer.
"""

from collections.abc import Iterable
from html import escape, unescape

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from mavera.console.highlights import Mark, place_marks

# Markdown with 100,000 brackets takes two seconds. A longer text than this is shown as it is.
MAX_CHARACTERS = 200_000
# Deeper quotes and lists than this lose their text in the parser. Deeper brackets lose nothing, and reading
# 100,000 of them takes a minute.
_MAX_NESTING = 120
_MAX_BRACKETS = 20

_TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "mark",
    "ol", "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "mark": {"id", "title"}, "ol": {"start"}}
_CLASSES = {"mark": {"insight", "evidence", "stance"}, "code": set[str]()}
_SCHEMES = {"http", "https", "mailto"}


def render_markdown(text: str, marks: Iterable[Mark] = ()) -> str:
    """Return `text` as HTML. Text that has more than MAX_CHARACTERS is one preformatted block."""
    if len(text) > MAX_CHARACTERS:
        return f"<pre>{escape(text)}</pre>"
    parser = _make_parser()
    tokens = parser.parse(text)
    for token in tokens:
        token.children = token.children and [_link_image(child) for child in token.children]
    place_marks(tokens, marks)
    return nh3.clean(
        parser.renderer.render(tokens, parser.options, {}),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes=_CLASSES,
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


def to_plain(text: str) -> str:
    """Return one line of Markdown as the text that a reader sees, without its marks."""
    return unescape(nh3.clean(_make_parser().renderInline(text), tags=set())).strip()


def _make_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": _MAX_NESTING})
    parser.core.ruler.before("inline", "limit_brackets", _limit_brackets)
    return parser.enable(["table", "strikethrough"])


def _limit_brackets(state: StateCore) -> None:
    """Lower the limit between the reading of blocks and that of their text. A parser reads only once."""
    state.md.options["maxNesting"] = _MAX_BRACKETS


def _link_image(token: Token) -> Token:
    """Return a link in place of an image. Its text is the description of the image, or its address."""
    if token.type != "image":
        return token
    address = str(token.attrs.get("src", ""))
    name = token.content or address or "image"
    return Token("html_inline", "", 0, content=f'<a href="{escape(address)}">{escape(name)}</a>')
