"""`mavera study` draws shares, intervals, models and letters."""

from io import StringIO
from typing import Any

from rich.console import Console

from mavera.cli.study_drawing import draw_bar, draw_results

QUESTION: dict[str, Any] = {
    "question_id": "q1",
    "text": "Which bicycle?",
    "base": 50,
    "distribution": {"Red": 0.75, "Blue": 0.25},
    "intervals": {"Red": [0.6, 0.9], "Blue": None},
    "model": {
        "attributes": [
            {
                "attribute": "lock",
                "importance": {"value": 0.5, "simulation_interval": [0.4, 0.6]},
                "levels": [{"level": "none", "part_worth": {"value": -0.25, "simulation_interval": None}}],
            }
        ]
    },
    "flags": ["order_gap 1.90"],
}
RESULTS: dict[str, Any] = {
    "name": "Bicycles",
    "status": "COMPLETED",
    "sample": {"respondents": 50, "personas": 3},
    "method": {"model": "m"},
    "results": [QUESTION],
    "tables": [
        {
            "row": "q1",
            "banner": "persona",
            "bases": {"A": 20, "B": 30},
            "cells": [
                {"kind": "answer", "row": "Red", "column": "A", "letter": "A", "value": 0.9, "letters": "B"},
                {"kind": "answer", "row": "Red", "column": "B", "letter": "B", "value": None},
            ],
        }
    ],
    "notices": ["Simulated answers. Not a sample of people."],
}


def test_shares_intervals_models_and_letters_are_drawn() -> None:
    out = StringIO()
    console = Console(file=out, width=100)
    for part in draw_results(RESULTS):
        console.print(part)
    text = out.getvalue()
    for shown in ("75%", "60–90", "50% (40% to 60%)", "-0.25", "90% B", "order_gap 1.90", "Simulated"):
        assert shown in text


def test_a_verbatim_that_came_twice_is_shown_once() -> None:
    said = [{"text": text} for text in ("Too dear.", "Too dear.", "I like it.")]
    out = StringIO()
    console = Console(file=out, width=100)
    for part in draw_results({**RESULTS, "results": [{**QUESTION, "verbatims": said}]}):
        console.print(part)

    assert out.getvalue().count("Too dear.") == 1
    assert "“Too dear.” (2 times)" in out.getvalue()
    assert "“I like it.”\n" in out.getvalue()


def test_a_bar_is_as_long_as_its_share() -> None:
    assert draw_bar(0.0).plain.count("█") == 0
    assert draw_bar(1.0).plain.count("·") == 0
