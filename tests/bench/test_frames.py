"""Few frames stand between the model's bytes and the client, and a stage without work is not among them."""

import asyncio

import pytest
from bench.frames import KINDS, find_frames


@pytest.fixture(scope="module")
def frames() -> dict[str, list[str]]:
    return asyncio.run(find_frames())


def test_a_plain_piece_of_text_passes_seven_frames(frames: dict[str, list[str]]) -> None:
    assert 0 < len(frames["plain"]) <= 7
    assert len(frames["truncation"]) == len(frames["canvas"]) == len(frames["plain"])


@pytest.mark.parametrize("kind", KINDS)
def test_no_piece_of_text_passes_more_than_twelve(frames: dict[str, list[str]], kind: str) -> None:
    assert 0 < len(frames[kind]) <= 12
