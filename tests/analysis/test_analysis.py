"""The pure parts of an analysis."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from mavera.analysis import confidence, insights
from mavera.analysis.ahead import ReadAhead
from mavera.analysis.emotion import MAX_SENTENCES, pick_spread
from mavera.cli.drawing import draw_analysis, draw_chart, list_scales
from mavera.core.analysis import Analysis, AnalysisFailure
from mavera.reading.sentences import split_sentences

texts = st.one_of(
    st.text(max_size=400),
    st.text(alphabet="aB1 .!?\n\"'`-*。I’", max_size=400),
    st.from_regex(r"(\w+ ){0,30}\."),
)


@given(st.integers(1, 500))
def test_long_answers_are_read_from_end_to_end(number: int) -> None:
    sentences = split_sentences("Go on. " * number)
    chosen = pick_spread(sentences, MAX_SENTENCES)

    assert len(chosen) == min(number, MAX_SENTENCES)
    assert (chosen[0], chosen[-1]) == (sentences[0], sentences[-1])


@given(texts)
def test_insights_are_sentences_of_the_answer_each_once(text: str) -> None:
    sentences = split_sentences(text)
    found = insights.pick_insights(sentences, "Why?")

    assert len(found) <= insights.MAX_INSIGHTS
    assert bool(found) == bool(sentences)
    assert all(said == sentences[number].text for said, (number,) in found)
    assert len({number for _, (number,) in found}) == len(found)


@given(st.lists(st.floats(-30, 0), min_size=1, max_size=50))
def test_confidence_stays_on_its_scale_and_falls_with_doubt(logprobs: list[float]) -> None:
    said = confidence.estimate_confidence(logprobs)
    doubted = confidence.estimate_confidence([value - 1 for value in logprobs])

    assert said is not None
    assert doubted is not None
    assert 1 <= doubted <= said <= 10


def test_without_log_probabilities_there_is_no_confidence() -> None:
    assert confidence.estimate_confidence([]) is None


def test_an_analysis_that_failed_is_drawn_as_such() -> None:
    failed = Analysis(error=AnalysisFailure(code="analysis_failed", message="No."))

    assert [str(part) for part in draw_analysis(failed, "Hm")] == ["No analysis: No."]
    assert {value for _, value in list_scales(failed)} == {None}
    assert "no analysis" in draw_chart("<Why?>", [("A & B", failed)])
    assert "&lt;Why?&gt;" in draw_chart("<Why?>", [("A & B", failed)])


@given(st.lists(texts, max_size=6))
def test_what_is_read_ahead_are_sentences_of_the_whole_in_order(pieces: list[str]) -> None:
    read: list[str] = []

    async def hear() -> None:
        ahead = ReadAhead(lambda sentences: read.extend(one.text for one in sentences))
        for piece in pieces:
            ahead.feed(piece)
            await asyncio.sleep(0)

    asyncio.run(hear())
    whole = [one.text for one in split_sentences("".join(pieces))]
    assert all(one in whole for one in read)
    assert read == whole[: len(read)]
