"""A name that stands twice in one object is found in a body of any shape, and no other body is refused."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mavera.api.http.decoding import decode_at_once
from mavera.errors import InvalidRequest


class Members(list[tuple[str, Any]]):
    """An object whose names may repeat."""


texts = st.text(alphabet='ab:"\\/,{}\n\u00fc', max_size=4)
values = st.recursive(
    st.none() | st.integers(-5, 5) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(texts, inner), max_size=3).map(Members),
    max_leaves=12,
)


def written(value: Any, *, escaped: bool) -> str:
    if isinstance(value, Members):
        members = (
            f"{written(name, escaped=escaped)} : {written(inner, escaped=escaped)}" for name, inner in value
        )
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        return f"[{','.join(written(inner, escaped=escaped) for inner in value)}]"
    text = json.dumps(value, ensure_ascii=escaped)
    return text.replace(":", "\\u003a") if escaped else text


def repeats(value: Any) -> bool:
    if isinstance(value, Members):
        names = [name for name, _ in value]
        return len(set(names)) < len(names) or any(repeats(inner) for _, inner in value)
    return isinstance(value, list) and any(map(repeats, value))


@settings(max_examples=500)
@given(value=values, escaped=st.booleans())
def test_a_body_is_refused_if_a_name_repeats_and_only_then(value: Any, escaped: bool) -> None:
    body = written(value, escaped=escaped).encode()

    if repeats(value):
        with pytest.raises(InvalidRequest, match="occurs twice"):
            decode_at_once(body, object)
    else:
        assert decode_at_once(body, object) == json.loads(body)
