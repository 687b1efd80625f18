"""The texts for users are free of the tics of language that a program can find."""

import pytest
from docs_site.find_tics import find_all_tics, find_tics


def test_the_texts_for_users_have_no_tics() -> None:
    assert list(find_all_tics()) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "What a run held is refunded.",
        "- Who works on the store is its operator.",
        "The exit code is 1 where something is missing.",
        "Where there is no key, nothing is answered.",
        "The number of calls, 20 unless given.",
        "Every body but for the first is read.",
        "If the client goes away, the run stops.",
        "Wait a second and ask again.",
        "The two cases are told apart by the code.",
        "It takes the last one in silence.",
        "The plan allows so many requests a day.",
        "The list says how long it shall be kept.",
        "Of a mosaic the parts are priced.",
        "Two things happen: the run stops; the credits come back.",
        "The run stops; the credits come back; the log has a line.",
    ],
)
def test_each_tic_is_found(sentence: str) -> None:
    assert len(list(find_tics(sentence))) == 1


@pytest.mark.parametrize(
    "sentence",
    [
        "What does the interval mean?",
        "Look in the folder where the files are.",
        "If the client disconnects, the run stops.",
        "The button *Ask again* repeats the question.",
        "Two things happen: the run stops, and the credits come back.",
        "The plan allows 60 requests a minute; the free one allows 10.",
    ],
)
def test_plain_language_is_left_alone(sentence: str) -> None:
    assert list(find_tics(sentence)) == []


def test_a_cell_of_a_table_may_be_a_list_with_semicolons() -> None:
    cell = "Held: refused, absent; unchanged by opening; without a trace"

    assert list(find_tics(cell, in_table=True)) == []
    assert list(find_tics(cell)) == ["a colon and a semicolon", "two semicolons"]
