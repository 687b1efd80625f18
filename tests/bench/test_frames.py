"""Few frames stand between the model's bytes and the client, and a stage without work is not among them."""

import asyncio

import pytest
from bench.frames import KINDS, find_frames


@pytest.fixture(scope="module")
def frames() -> dict[str, list[str]]:
    return asyncio.run(find_frames())


def test_a_plain_piece_of_text_passes_eight_frames(frames: dict[str, list[str]]) -> None:
    assert 0 < len(frames["plain"]) <= 8
    assert len(frames["truncation"]) == len(frames["plain"])
    # A canvas is no spoken answer, so nothing watches it for loops.
    assert len(frames["canvas"]) == len(frames["plain"]) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_piece_of_text_passes_more_than_twelve(frames: dict[str, list[str]], kind: str) -> None:
    assert 0 < len(frames[kind]) <= 12
