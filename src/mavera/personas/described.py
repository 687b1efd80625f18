"""
Find the facts in a customer's description that a drafted person has to keep.

    "Single mothers of 25-34 in Leeds with two children, who earn £28,000"
        ages 25 to 34 · women · Leeds · single, two children · £28,000

The facts are found by rules, so that the same description always gives the same facts. A rule that is unsure
finds nothing: a fact that is missed costs a check, while an invented one would bend the person.
"""

import re
from dataclasses import dataclass
from typing import Literal

Gender = Literal["woman", "man"]

YOUNGEST, OLDEST = 16, 95
_MOST_CHARACTERS = 2000

_RANGE = re.compile(
    r"\b(?:aged?|ages|between)\s+(?:of\s+|from\s+)?(\d{2})\s*(?:-|–|to|and)\s*(\d{2})\b"
    r"|\b(?:of\s+)?(\d{2})\s*(?:-|–|to)\s*(\d{2})(?:[- ]?years?[- ]olds?|[- ]?year[- ]olds?)\b"
    r"|\bof\s+(\d{2})\s*(?:-|–|to)\s*(\d{2})\b(?!\s*(?:hours|minutes|days|people|employees|%|k\b))",
    re.IGNORECASE,
)
_SINGLE = re.compile(
    r"\b(\d{2})[- ]years?[- ]olds?\b|\baged?\s+(\d{2})\b(?!\s*(?:-|–|to|and)\s*\d)"
    r"|^\W*(?:\w+\W+){1,5}?of\s+(\d{2})(?=\s+(?:who|with|and|from|in)\b|[,;]|\.?$)",
    re.IGNORECASE,
)
_DECADE = re.compile(
    r"\bin\s+(?:their|her|his)\s+(early|mid|late)?[- ]?"
    r"(twenties|thirties|forties|fifties|sixties|seventies|eighties|[2-8]0s)\b",
    re.IGNORECASE,
)
_OVER = re.compile(
    r"\b(over|under)[- ](\d{2})s?\b(?!\s*(?:hours|minutes|days|people|employees|%|k\b|,\d))", re.I
)
_DECADES = {
    word: 20 + 10 * place
    for place, word in enumerate(
        ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties")
    )
}
_PARTS = {"early": (0, 3), "mid": (4, 6), "late": (7, 9)}
# Words that say an age without a number. The first that is found counts.
_AGE_WORDS = (
    (re.compile(r"\b(?:teenagers?|teens|sixth[- ]formers?|high[- ]schoolers?)\b", re.I), (16, 19)),
    (re.compile(r"\b(?:undergraduates?|college students?|university students?|students)\b", re.I), (18, 30)),
    (re.compile(r"\b(?:retirees?|retired|pensioners?)\b", re.I), (58, 90)),
)
_WOMEN = re.compile(
    r"\b(?:women|woman|mothers?|mums?|moms?|wives|wife|grandmothers?|daughters|sisters|widows?|female)\b",
    re.I,
)
_MEN = re.compile(
    r"\b(?:men|man|fathers?|dads?|husbands?|grandfathers?|sons|brothers|widowers?|male)\b", re.I
)
_NUMBERS = "one|two|three|four|five|six|no|[1-6]"
# A nanny also looks after two children, so a verb or a word of family has to stand before them.
_FAMILY = re.compile(
    r"\b(?:with|has|have|having|rais\w+|(?:parents?|mothers?|mums?|moms?|fathers?|dads?)\s+of)\s+"
    rf"((?:{_NUMBERS})(?:\s+(?:small|young|grown|adult|teenage|little|school-age))?"
    r"\s+(?:children|child|kids?|sons?|daughters?|teenagers|dogs?|cats?))\b",
    re.IGNORECASE,
)
_HOME = re.compile(
    r"\b(?:lives?|living)\s+(alone|with\s+(?:\w+\s+){0,2}"
    r"(?:parents|flatmates|roommates|housemates|partner|grandparents))\b",
    re.IGNORECASE,
)
_STATUS = re.compile(r"\b(single|divorced|widowed|married|childless)\b(?![- ]use)", re.IGNORECASE)
# The subject of a description ends here. What follows may be about others.
_SUBJECT_END = re.compile(r"[,;.:]|\b(?:who|that|whose|which|in|with|for|from|to|at|on|near|around)\b", re.I)
_MONEY = re.compile(
    r"(?:(?:[$€£₦₹¥]|(?:USD|EUR|GBP|CHF|INR|NGN)\s?)\d(?:[\d,.]*\d)?(?:\s?(?:k|m|million|thousand)\b)?"
    r"|\b\d(?:[\d,.]*\d)?\s?(?:k|thousand|million)?\s?(?:dollars|euros|pounds|naira|rupees|francs|kroner|yen))"
    r"(?:\s+(?:a|per)\s+(?:year|month|week|hour|day))?",
    re.IGNORECASE,
)
_EARNS = re.compile(
    r"\b(?:earn\w*|income\w*|salar(?:y|ies)|paid|wages?|makes?|making|liv(?:e|es|ing)\s+(?:on|off))\b", re.I
)
_PLACE = re.compile(
    r"\b(?P<before>\w+\s+)?(?:in|near|around|outside|across|from)\s+"
    r"(?:(?:the|rural|urban|central|northern|southern|eastern|western|suburban|inner|greater)\s+)*"
    r"(?P<name>[A-ZÀ-Ý][\w'’.-]*(?:\s+(?:of\s+|de\s+|la\s+|del\s+)?[A-ZÀ-Ý][\w'’-]*){0,3}"
    r"(?:,\s+[A-ZÀ-Ý][\w'’-]+(?:\s+[A-ZÀ-Ý][\w'’-]+)?)?)"
)
_ABBREVIATED = frozenset({"US", "USA", "UK", "UAE", "EU", "U.S", "U.K", "NYC", "LA"})
# These words stand behind "in" or "from" and are no places.
_MONTHS_AND_DAYS = (
    "january|february|march|april|may|june|july|august|september|october|november|december"
    "|monday|tuesday|wednesday|thursday|friday|saturday|sunday|christmas|easter|ramadan"
)
_NO_PLACE = re.compile(
    rf"(?:{_MONTHS_AND_DAYS}|gen|english|german|french|spanish|portuguese|hindi|python|java|javascript|excel"
    r"|q[1-4]),?$",
    re.IGNORECASE,
)
_BOUGHT = re.compile(
    r"\b(?:buy|buys|order|orders|shop|shops|get|gets|stream|streams|bought|ordering)\s+$", re.I
)
_WORD = re.compile(r"[\w$€£₦₹¥%]+")
# Words of descriptions that tell one audience from another only together with others.
_COMMON_WORDS = (
    "about above after again also always among another around audience because been before being below "
    "both buyer buyers buys children customer customers does during each earn every from have having into "
    "just less like live lives living many more most much often only other over owner owners people "
    "person persons same single some still such than that their them then there these they this those "
    "through under until user users very want wants week were what when where which while with within "
    "without work working works year years your"
)
_COMMON = frozenset(_COMMON_WORDS.split())
_LEAST_LETTERS = 4
_STEM = 5
_FIGURE = re.compile(r"\d(?:[\d,.:]*\d)?")


@dataclass(frozen=True, slots=True)
class DescribedFacts:
    """
    The facts of a description. Empty values were not found.

    `ages` is the youngest and the oldest age. `household` and `income` are words of the description, and
    `figures` are its other numbers as they are written.
    """

    ages: tuple[int, int] | None = None
    gender: Gender | None = None
    places: tuple[str, ...] = ()
    household: tuple[str, ...] = ()
    income: str = ""
    figures: tuple[str, ...] = ()

    def describe(self) -> dict[str, str]:
        """Return the facts in words, by their names. A fact that was not found is left out."""
        ages = ""
        if self.ages is not None:
            low, high = self.ages
            ages = f"{low}" if low == high else f"{low} to {high}"
        found = {
            "age": ages,
            "gender": self.gender or "",
            "place": ", ".join(self.places),
            "household": ", ".join(self.household),
            "income": self.income,
        }
        return {name: value for name, value in found.items() if value}


def find_facts(description: str) -> DescribedFacts:
    """Return the facts of a description. Reads at most 2,000 characters."""
    text = description[:_MOST_CHARACTERS]
    income = _find_income(text)
    ages = _find_ages(text)
    known = {*_FIGURE.findall(income), *(map(str, ages) if ages else ())}
    return DescribedFacts(
        ages=ages,
        gender=_find_gender(text),
        places=_find_places(text),
        household=_find_household(text),
        income=income,
        figures=tuple(dict.fromkeys(figure for figure in _FIGURE.findall(text) if figure not in known)),
    )


def find_unmentioned(facts: DescribedFacts, text: str) -> tuple[str, ...]:
    """Return the figures and places of the description that `text` does not contain."""
    words = set(_WORD.findall(text.casefold()))
    figures = set(_FIGURE.findall(text))
    places = [place for place in facts.places if not words.issuperset(_WORD.findall(place.casefold()))]
    return (*places, *(figure for figure in facts.figures if figure not in figures))


def find_stems(text: str) -> frozenset[str]:
    """Return the beginnings of the words of `text` that tell its audience from others: "night" of nights."""
    words = (word.rstrip("s") for word in _WORD.findall(text.casefold()) if word not in _COMMON)
    return frozenset(word[:_STEM] for word in words if len(word) >= _LEAST_LETTERS and word.isalpha())


def mentions(text: str, fact: str) -> bool:
    """Return whether `text` has every word of `fact`, whatever their order and case."""
    return set(_WORD.findall(text.casefold())).issuperset(_WORD.findall(fact.casefold()))


def _find_subject(text: str) -> str:
    """Return the words that name the audience, as in "single mothers" of "Single mothers in Leeds who …"."""
    end = _SUBJECT_END.search(text)
    return text[: end.start()] if end else text


def _find_ages(text: str) -> tuple[int, int] | None:
    if found := _RANGE.search(text):
        low, high = (int(one) for one in found.groups() if one is not None)
        return _limit_ages(low, high)
    if found := _DECADE.search(text):
        decade = found[2].lower()
        start = _DECADES[decade] if decade in _DECADES else int(decade[:2])
        first, last = _PARTS[found[1].lower()] if found[1] else (0, 9)
        return _limit_ages(start + first, start + last)
    if found := _SINGLE.search(text):
        age = int(found[1] or found[2] or found[3])
        return _limit_ages(age, age)
    if found := _OVER.search(text):
        limit = int(found[2])
        is_over = found[1].lower() == "over"
        return _limit_ages(limit, limit + 20) if is_over else _limit_ages(limit - 14, limit)
    return next((ages for pattern, ages in _AGE_WORDS if pattern.search(_find_subject(text))), None)


def _limit_ages(low: int, high: int) -> tuple[int, int] | None:
    """Return the range within the ages that a person can have, or None if nothing of it is."""
    low, high = max(YOUNGEST, low), min(OLDEST, high)
    return (low, high) if low <= high else None


def _find_gender(text: str) -> Gender | None:
    subject = _find_subject(text)
    women, men = _WOMEN.search(subject) is not None, _MEN.search(subject) is not None
    if women == men:
        return None
    return "woman" if women else "man"


def _find_places(text: str) -> tuple[str, ...]:
    found = []
    for match in _PLACE.finditer(text):
        name = match["name"].rstrip(".'’-")
        first = name.split()[0]
        if match["before"] and _BOUGHT.search(match["before"]):
            continue
        if _NO_PLACE.match(first) or (first.isupper() and first not in _ABBREVIATED):
            continue
        found.append(name)
    return tuple(dict.fromkeys(found))


def _find_household(text: str) -> tuple[str, ...]:
    statuses = _STATUS.findall(_find_subject(text))
    # "Widowed or married" says that it does not matter.
    found = [*(statuses if len(statuses) == 1 else ()), *_FAMILY.findall(text), *_HOME.findall(text)]
    return tuple(dict.fromkeys(" ".join(one.lower().split()) for one in found))


def _find_income(text: str) -> str:
    """Return the sum of money in a clause that speaks of income."""
    for clause in re.split(r"[;.](?:\s|$)|,\s(?!\d)", text):
        if _EARNS.search(clause) and (found := _MONEY.search(clause)):
            return found[0].strip()
    return ""
