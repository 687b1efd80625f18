"""The text of a key tells a slip of the hand from a key, and shows itself to nobody."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.accounts.keys.keyring import NewKey
from mavera.accounts.keys.repository import ApiKey
from mavera.accounts.keys.text import KeyText, Mode, Peppers, make_key_text, parse_key
from mavera.errors import Unauthorized

modes = st.sampled_from(["live", "test"])
LENGTH = len("mvra_live_") + 33 + 6


@given(modes)
def test_every_key_made_is_read_back(mode: Mode) -> None:
    key = make_key_text(mode)
    assert parse_key(key.text) == key
    assert key.mode == mode
    assert len(key.text) == LENGTH
    assert key.text.startswith(f"mvra_{mode}_")
    assert key.text.endswith(key.last_four)


@given(
    modes,
    st.integers(0, LENGTH - 1),
    st.one_of(st.sampled_from(string.ascii_letters + string.digits), st.characters()),
)
def test_a_key_with_any_one_character_changed_is_refused(mode: Mode, at: int, character: str) -> None:
    text = make_key_text(mode).text
    changed = text[:at] + character + text[at + 1 :]
    if changed != text:
        with pytest.raises(Unauthorized):
            parse_key(changed)


@given(modes, st.integers(0, LENGTH - 2))
def test_a_key_with_two_neighbours_swapped_is_refused(mode: Mode, at: int) -> None:
    text = make_key_text(mode).text
    swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if swapped != text:
        with pytest.raises(Unauthorized):
            parse_key(swapped)


@given(modes, st.integers(0, LENGTH - 1), st.text(max_size=3))
def test_a_key_cut_short_or_run_on_is_refused(mode: Mode, length: int, more: str) -> None:
    text = make_key_text(mode).text
    for wrong in (text[:length], text + more + "\n"):
        with pytest.raises(Unauthorized):
            parse_key(wrong)


@given(st.text())
def test_no_message_quotes_what_was_sent(text: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        parse_key(f"<{text}>")
    assert f"<{text}>" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sk-proj-0123456789", "start with mvra_live_ or mvra_test_"),
        ("mvra_prod_" + "a" * 39, "start with mvra_live_ or mvra_test_"),
        ("mvra_live_" + "a" * 39, "mistyped"),
        ("mvra_live_short", "mistyped"),
    ],
)
def test_the_message_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(Unauthorized, match=said):
        parse_key(text)


def test_the_checksum_stays_what_scanners_of_leaked_keys_know() -> None:
    known = "mvra_live_" + "0" * 33 + "3T74ho"
    assert parse_key(known) == KeyText(known, "live")
    assert Peppers().digest(known) == "6b7748fa194ffda24d4ac93185204722aca5ac83bc4361b4ac097959fbd2b7e6"


def test_no_repr_holds_the_text() -> None:
    key = make_key_text("live")
    made = NewKey(ApiKey("c1", "c2", "name", "live", key.last_four, 0), key.text)
    for shown in (repr(key), str(key), f"{key}", repr(made), str([made])):
        assert key.text not in shown
        assert key.text[10:30] not in shown
