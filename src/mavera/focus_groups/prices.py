"""
Compute what a study costs in credits. Pure.

    33 + 5/3 · respondents + 2 · questions, rounded down

A study gives back the share of its cells that failed or were never asked, rounded in the customer's favour.
A copy pays for the cells that its source has not answered.
"""

from fractions import Fraction

_BASE = Fraction(33)
_PER_RESPONDENT = Fraction(5, 3)
_PER_QUESTION = Fraction(2)


def price_study(respondents: int, questions: int) -> int:
    """Return the credits of a study with `respondents` completes."""
    return int(_BASE + _PER_RESPONDENT * respondents + _PER_QUESTION * questions)


def price_copy(price: int, source_price: int, reused: int, source_cells: int) -> int:
    """
    Return the credits of a copy that would cost `price` by itself.

    The copy reuses `reused` of the source's `source_cells` cells. Their price in the source is subtracted.
    """
    if source_cells == 0:
        return price
    return max(0, int(price - Fraction(source_price * reused, source_cells)))


def charge_for(price: int, answered: int, total: int) -> int:
    """Return the credits for a study of which `answered` of `total` cells have an answer."""
    return int(Fraction(price * answered, total)) if total else price
