"""How far an answer says yes, in firm and mild words, with both sides, and never against the verdict."""

import json
from pathlib import Path

import numpy
import pytest
from evals.intervals import compute_auc
from evals.stance.answers import read_answers

from mavera.reading.agreement import Agreement, asks_for_agreement, measure_agreement
from mavera.reading.anchors import AnchoredScale, rate_similarity
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.verdict import Verdict, VerdictReader

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "evals/reading/verdicts.jsonl").read_text("utf-8").splitlines()
]
QUESTION = "Would you buy this lamp?"


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder()


@pytest.fixture(scope="module")
def reader(encoder: SentenceEncoder) -> VerdictReader:
    return VerdictReader(encoder)


def test_the_score_never_contradicts_the_verdict(encoder: SentenceEncoder, reader: VerdictReader) -> None:
    for row in ROWS[::3]:
        verdict = reader.read(row["question"], row["answer"])
        found = measure_agreement(encoder, reader, row["question"], row["answer"])

        assert found.verdict == verdict
        assert sum(found.distribution) == pytest.approx(1, abs=1e-4)
        low, high = {"yes": (0, 1), "no": (-1, 0)}.get(verdict.stance, (-0.5, 0.5))
        assert low <= found.score <= high, row


def test_who_would_buy_scores_above_who_would_not(encoder: SentenceEncoder, reader: VerdictReader) -> None:
    """The figure of evals/README.md, .967, with some room."""
    rows = read_answers()[:100]
    scores = numpy.array([measure_agreement(encoder, reader, one.question, one.text).score for one in rows])
    buys = numpy.array([one.verdict == "yes" for one in rows])

    assert compute_auc(scores, buys) > 0.93


def test_a_verdict_that_was_read_with_a_model_decides(
    encoder: SentenceEncoder, reader: VerdictReader
) -> None:
    answer = "My sister has two of them."
    own = reader.read(QUESTION, answer)
    read_again = Verdict("no", (0.1, 0.7, 0.1, 0.1), own.sentence)

    found = measure_agreement(encoder, reader, QUESTION, answer, read_again)

    assert own.stance != "no"
    assert (found.verdict, found.score < -0.2) == (read_again, True)


def test_firm_words_are_further_out_than_mild_ones(encoder: SentenceEncoder, reader: VerdictReader) -> None:
    def rate(answer: str) -> Agreement:
        return measure_agreement(encoder, reader, QUESTION, answer)

    firm, mild = rate("Yes, definitely, I love it, sign me up."), rate("Yes, I would probably consider it.")
    never, rather_not = rate("No, I would never do that."), rate("No, I probably would not do that.")

    assert firm.score > mild.score > 0 > rather_not.score > never.score


@pytest.mark.parametrize(
    ("answer", "is_mixed"),
    [
        ("Yes, I would buy it. I would use it every morning.", False),
        ("No. I would never buy that.", False),
        ("Yes, I would buy it for the light. But no, I would not pay that much.", True),
        ("I would buy it today, but I would never pay $49.", True),
        ("Yes.", False),
    ],
)
def test_an_answer_is_mixed_if_parts_of_it_disagree(
    encoder: SentenceEncoder, reader: VerdictReader, answer: str, is_mixed: bool
) -> None:
    assert measure_agreement(encoder, reader, QUESTION, answer).is_mixed == is_mixed


@pytest.mark.parametrize("answer", ["", "😀", "```\nx = 1\n```"])
def test_an_answer_without_a_sentence_is_in_the_middle(
    encoder: SentenceEncoder, reader: VerdictReader, answer: str
) -> None:
    found = measure_agreement(encoder, reader, QUESTION, answer)

    assert (found.score, found.distribution) == (0, (0, 0, 1, 0, 0))


@pytest.mark.parametrize(
    ("question", "asks"),
    [
        ("Would you buy it?", True),
        ("Here is our offer: a lamp for $49. Would you buy it?", True),
        ("How likely are you to buy it?", True),
        ("Würden Sie es kaufen?", True),
        ("What do you think of it?", False),
        ("", False),
    ],
)
def test_which_questions_ask_for_agreement(question: str, asks: bool) -> None:
    assert asks_for_agreement(question) == asks


def test_a_text_is_placed_near_the_anchors_that_it_resembles(encoder: SentenceEncoder) -> None:
    scale = AnchoredScale((("It is far too cheap.", "The price is fair.", "It is far too expensive."),))

    shares = rate_similarity(
        encoder, ["I cannot afford that, the price is outrageous.", "A fair price."], scale
    )

    assert shares.shape == (2, 3)
    assert shares.sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert list(shares.argmax(axis=1)) == [2, 1]


def test_a_scale_without_points_or_with_uneven_sets_is_refused() -> None:
    for sets in ((), (("one",),), (("a", "b"), ("a", "b", "c"))):
        with pytest.raises(ValueError, match="anchors of the same length"):
            AnchoredScale(sets)
