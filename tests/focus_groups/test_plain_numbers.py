"""Results are encoded whatever library made their numbers."""

import msgspec
import numpy as np
import pytest

from mavera.focus_groups.plain_numbers import rebuild_plain, replace_number, to_plain


class Figure(msgspec.Struct):
    value: float
    ends: tuple[float, float]
    count: int


FIGURE = Figure(float(np.float64(0.5)), (np.float64(1.0), np.float64(5.0)), int(np.int64(3)))


def test_numbers_of_numpy_become_plain_ones() -> None:
    with pytest.raises(TypeError):
        msgspec.to_builtins(FIGURE)

    assert to_plain(FIGURE) == {"value": 0.5, "ends": (1.0, 5.0), "count": 3}
    assert [type(end) for end in rebuild_plain(FIGURE).ends] == [float, float]
    assert msgspec.json.encode({"count": np.int64(3)}, enc_hook=replace_number) == b'{"count":3}'
    with pytest.raises((TypeError, NotImplementedError)):
        msgspec.json.encode({"made": object()}, enc_hook=replace_number)
