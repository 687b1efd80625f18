"""
Ask personas that were imported from a spreadsheet: `python -m evals.interviews.people`.

    people.csv → personas × QUESTIONS → the embedded model → people.jsonl, and figures

The rows are of the kinds that people have: a description, fields of a B2B sheet, both, and a description
without a type. Answers that the file has already are not asked for again. A persona of a spreadsheet is a
segment ("Plant Managers"), so an answer that speaks of that segment from outside is out of character.
"""

import re
import statistics
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec.structs import asdict

from evals.interviews.__main__ import Asker, ask_or_print, read_lines
from mavera.core.ids import new_cuid
from mavera.core.speech import breaks_character, find_words, has_loop
from mavera.personas.custom import CustomPersona
from mavera.personas.files import from_csv

HERE = Path(__file__).parent
OUT = HERE / "people.jsonl"
QUESTIONS = (
    "What did you last buy that you are glad about?",
    "Would you pay more for a product that can be repaired?",
    "Our ad says: 'Peace of mind for $9 a month.' What does it say to you?",
    "Where do you live, and who with?",
    "What would make you change a supplier or a shop that you know?",
    "Should offices get rid of paper?",
)
_FROM_OUTSIDE = re.compile(
    r"\b(this|the|these) (customer|persona|segment|audience|consumer|target)s?\b"
    r"|\bin (this|their) \w+'?s? shoes\b|^\W*(pros|cons)\b",
    re.IGNORECASE | re.MULTILINE,
)


def read_people() -> list[CustomPersona]:
    sheets = from_csv((HERE / "people.csv").read_bytes(), "people.csv")
    return [
        CustomPersona(**asdict(one), id=new_cuid(), version=1, created_at=0, updated_at=0) for one in sheets
    ]


async def ask_missing(path: Path) -> None:
    people = read_people()
    asked = {(line["persona"], line["question"]) for line in read_lines(path)}
    async with AsyncExitStack() as stack:
        asker = await Asker.open(stack, path, people)
        for who in people:
            for question in QUESTIONS:
                if (who.name, question) not in asked:
                    await asker.ask(who.name, "imported", question, ())


def main() -> None:
    texts = []
    for line in ask_or_print(__doc__, OUT, ask_missing):
        texts.append(line["text"])
        print(f"\n{line['persona']}: {line['question']}\n  {line['text']}")
    outside = sum(breaks_character(text) or _FROM_OUTSIDE.search(text) is not None for text in texts)
    words = statistics.median(len(find_words(text)) for text in texts)
    print(
        f"\n{len(texts)} answers, median {words:g} words, {outside} out of character, "
        f"{sum(map(has_loop, texts))} with a loop"
    )


if __name__ == "__main__":
    main()
