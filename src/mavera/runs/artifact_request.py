"""
Ask for an artifact in the kind that the question asks for.

A small model takes the example of its guidance for the task: asked for a letter, it sorted a list. So the
guidance has no example. It gives the first line of the block, which says the kind. Where decoding can enforce
it, the answer begins with that line.
"""

import re
from dataclasses import dataclass

# The word after the fence, by what is asked for. The first match counts, so exact kinds come first.
_KINDS = {
    "svg": "svg|drawing|logo|icon|illustration|sketch",
    "mermaid": "mermaid|diagram|flow ?chart|sequence chart|org(?:anisation)? chart|mind ?map",
    "html": "html|web ?page|landing page|web ?site",
    "csv": "csv|spreadsheet",
    "json": "json",
    "sql": "sql|query",
    "javascript": r"javascript|node\.?js",
    "bash": "bash|shell script|command line",
    "python": "python|code|function|script|program|algorithm",
    "markdown": "table|letter|e-?mail|memo|plan|report|document|article|essay|press release|recipe|menu"
    "|agenda|checklist|list|brief|summary|proposal|poem|story|speech|post|guide|policy|contract|invitation"
    "|schedule|itinerary",
}
_PATTERNS = tuple((kind, re.compile(rf"\b({words})s?\b", re.IGNORECASE)) for kind, words in _KINDS.items())
_MOST_CHARACTERS = 4000

_ASKED = """\
Write the {what} itself now, whole and ready to use, as a block. The block begins with this line:
```{kind} {title}
and ends with a line of three backquotes. {form}Outside the block say one sentence at most, as yourself."""

_FORMS = {
    "svg": "It holds one svg element with a viewBox. ",
    "mermaid": "It holds mermaid, such as flowchart TD and arrows between steps. ",
    "html": "It holds a whole page, from doctype to the end of html. ",
    "csv": "It holds one line of column names, then one line for each row, with commas between. ",
    "json": "It holds one JSON value. ",
}

_BEGINNINGS = {"svg": "<svg ", "mermaid": "flowchart TD\n", "html": "<!DOCTYPE html>\n"}

_UNASKED = """\
Anything to be kept, such as a document, code or a table, goes whole into a fenced block: two lines of three \
backquotes, of which the first also says the language and a title. Say the rest outside, in your own voice."""


@dataclass(frozen=True, slots=True)
class ArtifactRequest:
    """The `guidance` that asks for an artifact, and the line that the answer begins with, if one is sure."""

    guidance: str
    begins: str = ""


def request_artifact(question: str) -> ArtifactRequest:
    """Return how to ask for an artifact, in the kind that `question` names."""
    for kind, pattern in _PATTERNS:
        found = pattern.search(question[:_MOST_CHARACTERS])
        if found is not None:
            what = found[1].lower()
            title = what.upper() if len(what) <= 4 and kind == what else what.capitalize()
            guidance = _ASKED.format(what=what, kind=kind, title=title, form=_FORMS.get(kind, ""))
            return ArtifactRequest(guidance, f"```{kind} {title}\n{_BEGINNINGS.get(kind, '')}")
    return ArtifactRequest(_UNASKED)
