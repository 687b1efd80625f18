"""The sentences of the pages are short."""

import statistics
from pathlib import Path

import pytest
from docs_site.measure_prose import LONGEST, count_words, list_pages, list_sentences

PAGES = list_pages()
LONGEST_MEDIAN = 16


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_sentence_is_too_long(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert [one for one in list_sentences(text) if count_words(one) > LONGEST] == []


def test_half_of_the_sentences_are_short() -> None:
    lengths = [
        count_words(sentence)
        for page in PAGES
        for sentence in list_sentences(page.read_text(encoding="utf-8"))
    ]

    assert len(lengths) > 1_000
    assert statistics.median(lengths) <= LONGEST_MEDIAN


def test_sentences_are_found_among_code_tables_and_lists() -> None:
    text = """# A heading

One two. `three` four [five](six.md)
seven.

- eight nine
- ten

| eleven | twelve |
|---|---|

```sh
thirteen
```
"""

    found = list(list_sentences(text))

    assert found == ["One two.", "CODE four five seven.", "eight nine", "ten"]
    assert [count_words(sentence) for sentence in found] == [2, 3, 2, 1]
