"""What a run costs: within the ranges of the table, never less for more."""

from hypothesis import given
from hypothesis import strategies as st

from mavera.accounts.credits.pricing import Work, estimate_credits, estimate_input_tokens, price
from mavera.core.items import Image, Message, make_message
from mavera.core.prompt import Effort
from mavera.core.turn import Turn

EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

works = st.builds(
    Work,
    st.integers(0, 200_000),
    effort=st.sampled_from(EFFORTS),
    analysis=st.booleans(),
    images=st.booleans(),
    tool_turns=st.integers(0, 8),
)


@given(works)
def test_a_price_lies_in_the_range_of_what_was_done(work: Work) -> None:
    low = max(1, 2 * work.tool_turns, 3 * work.images, 3 * work.analysis)
    high = max(3, 4 * work.tool_turns, 5 * work.images, 5 * work.analysis)
    assert low <= price(work) <= high


@given(works, works)
def test_more_work_never_costs_less(one: Work, other: Work) -> None:
    more = Work(
        max(one.total_tokens, other.total_tokens),
        effort=max(one.effort, other.effort, key=EFFORTS.index),
        analysis=one.analysis or other.analysis,
        images=one.images or other.images,
        tool_turns=max(one.tool_turns, other.tool_turns),
    )
    assert price(more) >= max(price(one), price(other))


def test_every_credit_of_every_range_can_be_reached() -> None:
    tokens = (0, 2_000, 6_000)
    assert [price(Work(n)) for n in tokens] == [1, 2, 3]
    assert [price(Work(n, tool_turns=1)) for n in tokens] == [2, 3, 4]
    assert [price(Work(n, images=True)) for n in tokens] == [3, 4, 5]
    assert [price(Work(n, analysis=True)) for n in tokens] == [3, 4, 5]
    assert [price(Work(n, effort="high")) for n in tokens] == [2, 3, 3]


@given(st.text(max_size=20_000), st.integers(1, 10_000), st.sampled_from(EFFORTS))
def test_an_estimate_is_the_price_of_a_usual_answer(text: str, limit: int, effort: Effort) -> None:
    turn = Turn("mavera-1", (make_message("user", text),), max_output_tokens=limit, reasoning_effort=effort)
    assert estimate_credits(turn) == price(Work(len(text) // 4 + min(limit, 500), effort=effort))


def test_a_picture_is_seen_wherever_it_stands() -> None:
    turn = Turn(
        "mavera-1", (make_message("user", "What is this?"), Message("user", (Image("https://x.test/a.png"),)))
    )
    assert estimate_credits(turn) == 3
    assert estimate_input_tokens(turn) > 500
