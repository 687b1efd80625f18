"""
Measure the sentences of the pages: their median length, and those that are too long.

    .venv/bin/python -m docs_site.measure_prose [--longer-than 35]

Code, tables, headings and links' targets are left out. A list item is a sentence of its own.
"""

import argparse
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGEST = 35
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_CODE = re.compile(r"`[^`]*`")
_END = re.compile(r"(?<=[.!?:;])[\"')*_]*\s+(?=[\"'(*_]*(?:[A-ZÄÖÜ0-9]|mavera\b|nginx\b|smg\b))")
_CODE_WORD = "CODE"
_WORD = re.compile(r"[\w'’-]+")


def list_pages() -> list[Path]:
    """Return the pages for readers. The changelog and the decisions are records."""
    docs = ROOT / "docs"
    pages = [ROOT / "README.md", *docs.rglob("*.md")]
    return sorted(page for page in pages if not page.is_relative_to(docs / "decisions"))


def list_sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a page."""
    text = _FENCE.sub("\n\n", text)
    text = _LINK.sub(r"\1", text)
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        is_list = re.match(r"\s*(?:[-*]|\d+\.) ", line)
        if not line.strip() or is_list or line.startswith(("#", "|", "    ", ">")):
            yield from _split(" ".join(block))
            block = []
        if line.strip() and not line.startswith(("#", "|", "    ")):
            block.append(re.sub(r"^\s*(?:[-*]|\d+\.) ", "", line).strip("> "))


def _split(paragraph: str) -> Iterator[str]:
    for sentence in _END.split(_CODE.sub(_CODE_WORD, paragraph)):
        if sentence.strip():
            yield sentence.strip()


def count_words(sentence: str) -> int:
    """Return the number of words. A name in code is read at a glance and does not count."""
    return sum(word != _CODE_WORD for word in _WORD.findall(sentence))


def main() -> None:
    """Print the long sentences and the median of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--longer-than", type=int, default=LONGEST)
    longest = parser.parse_args().longer_than
    lengths = []
    for page in list_pages():
        for sentence in list_sentences(page.read_text(encoding="utf-8")):
            words = count_words(sentence)
            lengths.append(words)
            if words > longest:
                print(f"{page.relative_to(ROOT)}: {words} words: {sentence}")
    long_ones = sum(words > longest for words in lengths)
    print(f"{len(lengths):,} sentences, median {statistics.median(lengths):.0f} words, {long_ones} too long")


if __name__ == "__main__":
    main()
