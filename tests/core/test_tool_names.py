"""The names under which tools of MCP servers are offered."""

import re

from hypothesis import given
from hypothesis import strategies as st

from mavera.core.tool_names import ALL_TOOLS, to_offered_name

labels = st.from_regex(r"[a-zA-Z0-9-]{1,24}", fullmatch=True)
names = st.text("abc_-./ é", min_size=1, max_size=128)


@given(labels, names)
def test_every_tool_has_a_name_that_models_take(label: str, name: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", to_offered_name(label, name))


@given(labels, names)
def test_an_offered_name_given_back_means_the_same_tool(label: str, name: str) -> None:
    offered = to_offered_name(label, name)
    assert to_offered_name(label, offered.removeprefix(f"{label}__")) == offered


@given(labels, st.sets(names, min_size=2))
def test_two_tools_have_two_names(label: str, several: set[str]) -> None:
    assert len({to_offered_name(label, name) for name in several}) == len(several)


def test_a_name_that_models_take_is_kept() -> None:
    assert to_offered_name("shop", "find_price") == "shop__find_price"
    assert to_offered_name("shop", ALL_TOOLS) == "shop__*"
    assert to_offered_name("shop", "find.price") == "shop__find_price_da7cb41a"
