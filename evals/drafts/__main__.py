"""
Draft persons from six descriptions of different kinds: `python -m evals.drafts [--minutes 9]`.

    DESCRIPTIONS → the embedded model, in parts → drafts.jsonl → the table of evals/README.md

Drafts that the file has already are not made again, so a machine that is busy can do a few at a time. Seconds
are of the wall clock. Processor seconds are those of the engine; half of them is the time on two quiet cores.
"""

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil

from mavera.models.model import Model
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.custom import PersonaType
from mavera.personas.described import DescribedFacts, find_facts, mentions
from mavera.personas.persona import Profile
from mavera.runs.persona_draft import EXAMPLE, draft, find_copies
from mavera.services import open_named_model
from mavera.settings import load_settings

HERE = Path(__file__).parent
DESCRIPTIONS: tuple[tuple[str, str, PersonaType | None], ...] = (
    ("Night-shift nurses", "Nurses on permanent nights in Spain", None),
    (
        "Packaging buyers",
        "Plant managers at food factories in Bavaria who buy packaging machines and wait 14 weeks for parts",
        "B2B",
    ),
    (
        "Single mothers in Leeds",
        "Single mothers of 25-34 in Leeds with two children, who earn £28,000 a year and shop late at night",
        "B2C",
    ),
    ("Weekend anglers", "Men in their sixties who fish every weekend, distrust apps and pay cash", None),
    (
        "Lagos students",
        "Students in Lagos living on 60,000 naira a month who share a room and sell phone cases on the side",
        None,
    ),
    ("Minimalists", "People who own little on purpose", None),
)
Line = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no draft after this time")
    parser.add_argument("--out", type=Path, default=HERE / "drafts.jsonl")
    options = parser.parse_args()
    asyncio.run(draft_missing(options.out, time.monotonic() + 60 * options.minutes))
    for line in read_lines(options.out):
        print(describe_line(line))


def read_lines(path: Path) -> list[Line]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [msgspec.json.decode(line) for line in text.splitlines()]


async def draft_missing(path: Path, until: float) -> None:
    known = {line["name"] for line in read_lines(path)}
    missing = [one for one in DESCRIPTIONS if one[0] not in known]
    if not missing:
        return
    async with open_named_model(load_settings(), "mavera-1") as named:
        while named.model.status().state != "ready":  # noqa: ASYNC110 - the state can only be read
            await asyncio.sleep(0.2)
        for name, description, kind in missing:
            if time.monotonic() > until:
                return
            line = await draft_one(named.model, name, description, kind)
            with path.open("ab") as file:
                file.write(msgspec.json.encode(line) + b"\n")


async def draft_one(model: Model, name: str, description: str, kind: PersonaType | None) -> Line:
    started, processor = time.monotonic(), measure_processor()
    drafted = await draft(model, name, description, kind)
    return {
        "name": name,
        "description": description,
        "seconds": round(time.monotonic() - started, 1),
        "processor_seconds": round(measure_processor() - processor, 1),
        "input_tokens": drafted.usage.input_tokens,
        "cached_tokens": drafted.usage.cached_tokens,
        "output_tokens": drafted.usage.output_tokens,
        "unmentioned": drafted.unmentioned,
        "faults": find_faults(drafted.profile, find_facts(description)),
        "copies": find_copies(drafted.profile, PersonaLibrary.load().find(EXAMPLE)),
        "profile": msgspec.to_builtins(drafted.profile),
    }


def find_faults(profile: Profile, facts: DescribedFacts) -> list[str]:
    """Return the facts that `profile` contradicts or lacks: age, place, household or income."""
    who = profile.demographics
    age = int(who.identity.partition(",")[0])
    found = {
        "age": facts.ages is None or facts.ages[0] <= age <= facts.ages[1],
        "place": all(mentions(who.place, place) for place in facts.places),
        "household": all(mentions(who.household, one) for one in facts.household),
        "income": mentions(who.income, facts.income),
    }
    return [name for name, holds in found.items() if not holds]


def measure_processor() -> float:
    """Return the processor seconds of this process's children: the engine."""
    return sum(sum(one.cpu_times()[:2]) for one in psutil.Process().children(recursive=True))


def describe_line(line: Line) -> str:
    return (
        f"| {line['name']} | {line['processor_seconds'] / 2:.0f} s | {line['seconds']:.0f} s | "
        f"{line['output_tokens']} | {', '.join(line['faults']) or '–'} | "
        f"{', '.join(line['unmentioned']) or '–'} | {', '.join(line['copies']) or '–'} |"
    )


if __name__ == "__main__":
    main()
