"""An answer from results gets the reference that it lacks."""

import pytest

from mavera.runs.citing import ReferenceFinder

PASSAGES = ("Shops: Oslo opens at 9:30.", "Fjell jacket: It costs 2,490 kroner and comes in moss.")


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        ("It costs 2,490 kroner, which is too much.", " [2]"),
        ("The Oslo shop opens at 9:30.", " [1]"),
        ("It costs 2,490 kroner [2].", ""),
        ("I do not know.", ""),
    ],
    ids=["the second", "the first", "has one", "from nowhere"],
)
def test_the_passage_with_most_words_in_common_is_cited(answer: str, missing: str) -> None:
    finder = ReferenceFinder()
    for number, passage in enumerate(PASSAGES, start=1):
        finder.add_passage(number, passage)
    for piece in answer.partition(" "):
        finder.add_text(piece)

    assert finder.find_missing() == missing


def test_without_results_nothing_is_cited() -> None:
    finder = ReferenceFinder()
    finder.add_text("It costs 2,490 kroner.")

    assert finder.find_missing() == ""
