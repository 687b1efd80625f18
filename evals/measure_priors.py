"""
Measure the position priors of a model for studies: `python -m evals.measure_priors [--places 2 3 …]`.

The reads of `plan_prior` (a dozen neutral lists in each rotation) are asked of the model in the settings. The
priors are written into `src/mavera/focus_groups/priors.json`, which ships with the package. Priors of other
models and languages in the file are kept.
"""

import argparse
import asyncio
from pathlib import Path

import msgspec
from rich.console import Console

from mavera.accounts.principal import Principal
from mavera.cli.progress import wait_until_ready
from mavera.focus_groups.desk import digest_model
from mavera.focus_groups.elicit import Elicitor
from mavera.focus_groups.positions import compute_prior, plan_prior
from mavera.focus_groups.readings import PositionPrior
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.runs.loop import Runner
from mavera.services import open_named_model
from mavera.settings import load_settings

FILE = Path(__file__).parents[1] / "src/mavera/focus_groups/priors.json"
USUAL_PLACES = (2, 3, 4, 5, 6, 7, 11)


async def measure(places: list[int], language: str) -> list[PositionPrior]:
    settings = load_settings()
    people = Personas(PersonaLibrary.load())
    console = Console(stderr=True)
    async with open_named_model(settings, "mavera-1") as named:
        await wait_until_ready(named.model, console)
        runner = Runner(people, {"live": named.model})
        elicitor = Elicitor(lambda turn: runner.run(turn, Principal.local()), model="mavera-1")
        priors = []
        for count in places:
            reads = [(await elicitor.read(ask))[0] for ask in plan_prior(count, language)]
            priors.append(compute_prior(digest_model(settings), language, reads))
            console.print(f"{count} places: {', '.join(f'{bias:+.2f}' for bias in priors[-1].bias)}")
        return priors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--places", type=int, nargs="+", default=list(USUAL_PLACES))
    parser.add_argument("--language", default="en")
    given = parser.parse_args()
    measured = asyncio.run(measure(given.places, given.language))
    known = msgspec.json.decode(FILE.read_bytes(), type=list[PositionPrior]) if FILE.exists() else []
    new = {(prior.model, prior.language, prior.places) for prior in measured}
    kept = [prior for prior in known if (prior.model, prior.language, prior.places) not in new]
    ordered = sorted([*kept, *measured], key=lambda prior: (prior.model, prior.language, prior.places))
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(ordered), indent=1) + b"\n")


if __name__ == "__main__":
    main()
