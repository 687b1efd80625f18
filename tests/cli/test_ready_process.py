"""A command that is forked from a ready process does what one in a new process does."""

import pytest

from tests.support.command import Mavera


@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        (("ask", "-"), "Ça va ?", 0),
        (("ask", " "), "", 1),
        (("ask", "Hm?", "--nothing"), "", 2),
    ],
)
def test_input_output_and_exit_code_are_the_same(
    mavera: Mavera, typed_mavera: Mavera, arguments: tuple[str, ...], stdin: str, code: int
) -> None:
    forked = mavera(*arguments, stdin=stdin, code=code)
    typed = typed_mavera(*arguments, stdin=stdin, code=code)

    assert (forked.stdout, forked.stderr) == (typed.stdout, typed.stderr)
    assert forked.stdout or forked.stderr


def test_a_setting_of_one_command_is_not_there_for_the_next(mavera: Mavera) -> None:
    assert "MAVERA_PROT" in mavera("doctor", code=1, MAVERA_PROT="1").stderr
    assert "MAVERA_PROT" not in mavera("doctor").stderr
