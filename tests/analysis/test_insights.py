"""Key insights: sentences that stand alone, near the centre of the answer."""

import pytest

from mavera.analysis.insights import pick_insights, stands_alone
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.sentences import split_sentences


@pytest.mark.parametrize(
    "text",
    [
        "It is slow.",
        "But they never answer.",
        "That's why I left.",
        "This is what annoys me.",
        "These are too small for me.",
        "Its battery lasts a day.",
        "And so he gave up.",
        "Both would be fine.",
    ],
)
def test_a_sentence_that_leans_on_another_does_not_stand_alone(text: str) -> None:
    assert not stands_alone(text)


@pytest.mark.parametrize(
    "text",
    [
        "This app is slow.",
        "I like it.",
        "But the price is fair.",
        "That bank closed its branch.",
        "These days I cook at home.",
        "Items arrive late.",
        "Thirty euros is too much.",
    ],
)
def test_a_sentence_with_its_noun_stands_alone(text: str) -> None:
    assert stands_alone(text)


def test_an_insight_does_not_begin_with_a_pronoun() -> None:
    text = "The subscription costs nine euros a month. It is too much. They should offer a plan."
    found = pick_insights(split_sentences(text), "Would you subscribe?")

    assert [numbers for _, numbers in found] == [[0]]


def test_if_nothing_stands_alone_something_is_picked() -> None:
    assert pick_insights(split_sentences("It depends. They vary.")) != []


def test_the_sentence_at_the_centre_is_picked() -> None:
    text = (
        "My dog is called Rex. Electric cars are still too expensive for a family like ours. "
        "A cheap electric car with a decent range would make us switch at once. "
        "We have no place to charge an electric car at home."
    )
    sentences = split_sentences(text)
    vectors = SentenceEncoder().embed([one.text for one in sentences])

    ((insight, numbers),) = pick_insights(sentences, vectors=vectors)
    assert "electric car" in insight
    assert insight == sentences[numbers[0]].text
