"""The bench that compares two checkouts: its interval, its verdict, and when it stops adding turns."""

import argparse
import itertools
import json
import math
from collections.abc import Callable

import pytest
from bench.against import compare, interval


def options(**changes: object) -> argparse.Namespace:
    return argparse.Namespace(**{"turns": None, "most_turns": 60, "json": True, "against": "x", **changes})


def costs(*values: float) -> Callable[[], dict[str, float]]:
    """Return a reading that gives `values` over and over."""
    following = itertools.cycle(values)
    return lambda: {"µs": next(following)}


@pytest.mark.parametrize(("many", "student"), [(6, 2.5706), (11, 2.2281), (31, 2.0423), (61, 2.0003)])
def test_the_interval_is_students(many: int, student: float) -> None:
    logs = [0.01 * (-1) ** index for index in range(many)]
    mean = sum(logs) / many
    deviation = math.sqrt(sum((log - mean) ** 2 for log in logs) / (many - 1))

    found = interval(logs)

    assert found.ratio == pytest.approx(math.exp(mean))
    assert math.log(found.high) - mean == pytest.approx(student * deviation / math.sqrt(many), rel=2e-3)
    assert mean - math.log(found.low) == pytest.approx(student * deviation / math.sqrt(many), rel=2e-3)


@pytest.mark.parametrize(
    ("this", "turns", "verdict"),
    [
        ((100, 101), 6, "passes"),
        ((90, 91), 6, "passes"),
        ((101, 102, 103), 6, "passes"),
        ((106, 107), 6, "slower"),
        ((100, 115), 22, "slower"),
        ((50, 200), 60, "undecided"),
    ],
)
def test_turns_are_added_until_the_interval_is_narrow(
    capsys: pytest.CaptureFixture[str], this: tuple[float, ...], turns: int, verdict: str
) -> None:
    passes = compare("t", costs(*this), costs(100), options=options())

    shown = json.loads(capsys.readouterr().out)
    assert shown["rows"][0]["verdict"] == verdict
    assert shown["summary"]["turns"] == turns
    assert passes == (verdict == "passes")


def test_a_rate_is_faster_where_it_is_higher(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare("t", costs(120), costs(100), options=options(), more_is_faster=["µs"])
    assert json.loads(capsys.readouterr().out)["rows"][0]["speed"] == pytest.approx(1.2)
    assert not compare("t", costs(120), costs(100), options=options())


def test_every_second_turn_starts_with_the_other_checkout() -> None:
    order: list[str] = []

    def reader(name: str) -> Callable[[], dict[str, float]]:
        def read() -> dict[str, float]:
            order.append(name)
            return {"µs": 1.0}

        return read

    compare("t", reader("this"), reader("other"), options=options(turns=8))

    assert order == ["this", "other", "other", "this"] * 4
