"""News relevance: from meaning, not from single words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mavera.analysis.news import NewsReader, is_time_sensitive
from mavera.core.analysis import NewsRelevance
from mavera.reading.encoder import SentenceEncoder


@pytest.fixture(scope="module")
def reader() -> NewsReader:
    return NewsReader(SentenceEncoder())


def rate(reader: NewsReader, text: str, question: str = "") -> NewsRelevance:
    found = reader.rate(question, text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("The senate will vote on the new election law on Tuesday.", "politics"),
        ("Inflation rose again, and the central bank may raise interest rates.", "economy"),
        ("The striker scored twice as the club won the championship final.", "sport"),
        ("Health officials report an outbreak of measles in the city's hospitals.", "health"),
    ],
)
def test_news_has_a_high_score_and_its_topic(reader: NewsReader, text: str, topic: str) -> None:
    found = rate(reader, text)

    assert found.score > 5.5
    assert found.topics[0] == topic


@pytest.mark.parametrize(
    "text",
    [
        "My neighbour, who is a nurse, watered my plants.",
        "Who would not like that? I ask people who know me.",
        "The app is easy to use, and the final step takes a minute.",
        "I match my shoes with my bag, and I like my coach bag best.",
    ],
)
def test_a_common_word_is_no_topic(reader: NewsReader, text: str) -> None:
    found = rate(reader, text)

    assert found.score < 5.5
    assert found.topics == []


def test_dates_and_urgency_make_it_time_sensitive() -> None:
    assert is_time_sensitive("", "The vote is on Monday, and the deadline is in March 2027.")
    assert not is_time_sensitive("", "I may go for a march, or not.")


def test_without_text_there_is_no_relevance(reader: NewsReader) -> None:
    assert reader.rate("", " … ") is None


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=60), st.text(max_size=200))
def test_it_stays_on_its_scale(reader: NewsReader, question: str, answer: str) -> None:
    found = reader.rate(question, answer)

    assert found is None or (1 <= found.score <= 10 and len(found.topics) <= 3)
