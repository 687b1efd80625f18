"""Verdicts: what an answer says to its question, and the sentence it rests on."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mavera.reading.encoder import LANGUAGES, NoEncoder, SentenceEncoder
from mavera.reading.verdict import STANCES, VerdictReader
from mavera.reading.words import COUNT, count_words, is_closed
from tests.docs.pages import ROOT

ASK = "Would you pay $12 a month for this?"


@pytest.fixture(scope="module")
def reader() -> VerdictReader:
    return VerdictReader(SentenceEncoder())


@pytest.mark.parametrize(
    ("question", "answer", "stance"),
    [
        (ASK, "Yes, I would. It saves me an hour a week.", "yes"),
        (ASK, "Sure, it's cheaper than the one I have now.", "yes"),
        (ASK, "nah. i already pay for three of these.", "no"),
        (ASK, "Hard pass. I can't afford it.", "no"),
        (ASK, "I do not pay for things like that, because I have a library card.", "no"),
        (ASK, "I'd rather not. It would make me look dumb.", "no"),
        (ASK, "It depends on what it does. If it replaces my bank's app I might.", "depends"),
        ("Würdest du dafür 12 Euro zahlen?", "Nein, das ist mir zu teuer.", "no"),
        ("Würdest du dafür 12 Euro zahlen?", "Ja, sofort, das spart mir Zeit.", "yes"),
        ("Würdest du dafür 12 Euro zahlen?", "Das kommt darauf an, was es kann.", "depends"),
        ("¿Lo comprarías?", "Sí, claro, me hace falta uno.", "yes"),
        ("¿Lo comprarías?", "No, nunca compraría eso.", "no"),
        ("L'achèteriez-vous ?", "Oui, bien sûr, j'en ai besoin.", "yes"),
        ("L'achèteriez-vous ?", "Non, je n'en veux pas.", "no"),
        ("Você compraria?", "Sim, com certeza, preciso de um.", "yes"),
        ("Você compraria?", "Não, eu não compraria isso.", "no"),
    ],
)
def test_a_plain_answer_has_its_verdict(
    reader: VerdictReader, question: str, answer: str, stance: str
) -> None:
    assert reader.read(question, answer).stance == stance


def test_a_verdict_rests_on_the_sentence_that_says_it(reader: VerdictReader) -> None:
    answer = "My sister has two of them. No, I would never buy one. The box is blue."

    verdict = reader.read("Would you buy one?", answer)

    assert verdict.stance == "no"
    assert verdict.sentence is not None
    assert verdict.sentence.text == "No, I would never buy one."
    assert answer[verdict.sentence.start : verdict.sentence.end] == verdict.sentence.text


def test_labelled_answers_are_read_as_well_as_the_page_says(reader: VerdictReader) -> None:
    lines = (ROOT / "evals" / "reading" / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]

    right = [reader.read(row["question"], row["answer"]).stance == row["verdict"] for row in rows]

    assert len(rows) == 200
    assert sum(right) >= 140
    from_model = [one for one, row in zip(right, rows, strict=True) if row["from"] == "model"]
    assert sum(from_model) / len(from_model) > 0.75


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=60), st.text(max_size=200))
def test_any_text_has_a_verdict_with_probabilities(reader: VerdictReader, question: str, answer: str) -> None:
    verdict = reader.read(question, answer)

    assert verdict.stance in STANCES
    assert sum(verdict.probabilities) == pytest.approx(1, abs=1e-4)
    assert verdict.probability == max(verdict.probabilities)
    assert verdict.sentence is None or verdict.sentence.text in answer


def test_an_answer_without_a_word_takes_no_position(reader: VerdictReader) -> None:
    assert reader.read(ASK, "...").stance == "none"
    assert reader.read(ASK, "").sentence is None


def test_without_weights_the_reader_says_why(tmp_path: Path) -> None:
    with pytest.raises(NoEncoder, match=r"verdicts\.npz"):
        VerdictReader(SentenceEncoder(), tmp_path / "verdicts.npz").read(ASK, "Yes.")


@given(st.text(max_size=300), st.text(max_size=80))
def test_words_are_counted_in_any_text(text: str, first: str) -> None:
    assert len(count_words(text, first)) == COUNT


def test_questions_for_yes_or_no_are_told_from_others() -> None:
    closed = [
        "Would you pay for news?",
        "I made an app. It costs $8. Would you buy it?",
        "Is it fair?",
        "Was it worth it?",
        "Würden Sie das kaufen?",
        "¿Comprarías ropa usada?",
        "Paieriez-vous plus cher ?",
        "Você usaria um banco digital?",
    ]
    others = [
        "What do you like least about shopping online?",
        "Where would you buy it?",
        "Was halten Sie davon?",
        "Wie oft kaufst du ein?",
        "¿Qué opinas?",
        "Comment choisissez-vous un vin ?",
        "O que você acha?",
        "Tell me about your day.",
    ]

    assert [is_closed(question) for question in closed] == [True] * len(closed)
    assert [is_closed(question) for question in others] == [False] * len(others)
    assert len(LANGUAGES) == 5
