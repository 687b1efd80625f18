"""
Measure the correction by a past survey, and choose how strongly it is shrunk.

    python -m evals.calibration --data DIR --answers FILE [--tune]

The answers are those of `mavera eval surveys --data DIR --answers FILE`, without a persona. The spreads of
the correction are tuned on two surveys, and the figures of the others are printed beside theirs.
"""

import argparse
import asyncio
import itertools
from pathlib import Path

from mavera.evaluation.asking import AnswerFile
from mavera.evaluation.survey_asking import Simulation, SurveyInterviewer, simulate
from mavera.evaluation.survey_calibration import describe_calibration, measure_calibration
from mavera.evaluation.survey_data import Survey, load_surveys
from mavera.focus_groups import calibration
from mavera.focus_groups.desk import digest_model
from mavera.focus_groups.elicit import Elicitor, UnusableAnswer
from mavera.settings import load_settings

TUNED = ("flying-etiquette-survey", "star-wars-survey")
GIVEN = 5


async def read_answers(surveys: list[Survey], answers: Path) -> Simulation:
    """Return the readings of a file. Asks no model. Items without an answer are left out."""

    def refuse(_: object) -> object:
        raise UnusableAnswer("The file has no answer.")

    elicitor = Elicitor(refuse, model="mavera-1")  # type: ignore[arg-type]
    digest = digest_model(load_settings())
    interviewer = SurveyInterviewer(elicitor, AnswerFile(answers), model=digest, method="letters")
    return await simulate(interviewer, surveys, {one.name: () for one in surveys}, lambda: None, tasks=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument("--tune", action="store_true", help="Try the grid, and not only the shipped values.")
    given = parser.parse_args()
    surveys = [one for one in load_surveys(given.data) if isinstance(one, Survey)]
    simulation = asyncio.run(read_answers(surveys, given.answers))
    tuned = [one for one in surveys if one.name in TUNED]
    if given.tune:
        tune(tuned, simulation)
    for name, group in (("tuned", tuned), ("others", [one for one in surveys if one not in tuned])):
        print(name, describe_calibration(measure_calibration(group, simulation, None, GIVEN)))


def tune(surveys: list[Survey], simulation: Simulation) -> None:
    """Print the ten best sets of values on `surveys`, and go on with the best one."""
    found = []
    for values in itertools.product(
        (5.0, 20.0, 80.0), (0.25, 0.5, 1.0), (0.25, 0.5, 1.0), (0.1, 0.25, 0.5, 1.0)
    ):
        set_values(values)
        report = measure_calibration(surveys, simulation, None, GIVEN, draws=8)
        found.append((report.average("after").value, values))
    found.sort()
    for distance, values in found[:10]:
        print(
            f"{distance:.4f}  people {values[0]:g}, temperature {values[1]}, shift {values[2]}, "
            f"offsets {values[3]}"
        )
    set_values(found[0][1])


def set_values(values: tuple[float, ...]) -> None:
    (
        calibration.PEOPLE_AN_ITEM,
        calibration.SPREAD_OF_TEMPERATURE,
        calibration.SPREAD_OF_SHIFT,
        calibration.SPREAD_OF_OFFSETS,
    ) = values


if __name__ == "__main__":
    main()
