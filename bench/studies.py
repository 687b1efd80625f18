"""
How long a finished study takes to become respondents, estimates, tables and files.

    python -m bench.studies [--respondents 2000] [--choices] [--json]

10 personas × 20 questions (yes/no and single choices), with a random distribution in every cell. No model
is asked. With --choices two of the questions are a conjoint and a MaxDiff. Each part is timed once, in this
order, so imports of libraries count where they first happen. "memory" is the most that the process held.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bench.report import show
from mavera.focus_groups.conditions import conditions_of
from mavera.focus_groups.designs import list_sets, list_tasks
from mavera.focus_groups.draw import draw_reference, draw_respondents
from mavera.focus_groups.elicited import CellId, Elicited
from mavera.focus_groups.exports import FORMATS, build_export
from mavera.focus_groups.panel import Panel, Panelist
from mavera.focus_groups.results import build_results
from mavera.focus_groups.simulation import Method, Simulation
from mavera.focus_groups.study import Conjoint, MaxDiff, Question, Study
from mavera.focus_groups.study_file import check_members

PERSONAS = 10
OPTIONS = ["Taste", "Price", "Look", "Feel", "Brand"]
CHOICES: list[dict[str, Any]] = [
    {
        "type": "conjoint",
        "tasks": 10,
        "none": True,
        "attributes": {"brand": ["A", "B", "C"], "size": ["S", "M", "L"], "price": [2.99, 3.99, 4.99, 5.99]},
    },
    {"type": "maxdiff", "items": [f"Claim {n}" for n in range(12)], "per_set": 4},
]


def build_study(respondents: int, choices: bool) -> Study:
    questions: list[dict[str, Any]] = [
        {"type": "yes_no"} if n % 2 else {"type": "multiple_choice", "options": OPTIONS} for n in range(20)
    ]
    if choices:
        questions[-2:] = CHOICES
    members = {
        "study": 1,
        "name": "Bench",
        "personas": [f"p{n}" for n in range(PERSONAS)],
        "sample": {"size": respondents, "seed": 1},
        "questions": [{"id": f"q{n}", "text": f"Question {n}?", **one} for n, one in enumerate(questions)],
        "banner": ["persona", "age"],
    }
    return check_members(members).study


def build_panel(study: Study) -> Panel:
    return tuple(
        Panelist(one.id, one.id, 1, 1 / PERSONAS, {"age": ("18-34", "35+")[n % 2]}, one.id)
        for n, one in enumerate(study.personas)
    )


def elicit_randomly(study: Study) -> dict[CellId, Elicited]:
    generator = np.random.default_rng(1)
    book: dict[CellId, Elicited] = {}
    for question in study.questions:
        for part, shape in list_parts(study, question):
            for persona in (*(one.id for one in study.personas), None):
                for condition in conditions_of(study, question):
                    cell = CellId(question.id, part, persona, None, condition.key)
                    shares = generator.dirichlet(np.full(shape[-1], 2.0), size=shape[:-1])
                    book[cell] = Elicited(cell, shares, order_gap=0.1)
    return book


def list_parts(study: Study, question: Question) -> list[tuple[str | None, tuple[int, ...]]]:
    """Return the parts of a question with the shape of their distributions."""
    match question:
        case MaxDiff():
            return [(str(n + 1), (2, question.per_set)) for n in range(len(list_sets(study, question)))]
        case Conjoint():
            alternatives = question.alternatives + question.none
            return [(str(n + 1), (alternatives,)) for n in range(len(list_tasks(study, question)))]
        case _:
            return [(None, (2 if question.id[-1] in "13579" else len(OPTIONS),))]


def run(respondents: int, choices: bool) -> dict[str, float]:
    study = build_study(respondents, choices)
    panel = build_panel(study)
    book = elicit_randomly(study)
    found: dict[str, float] = {}

    def clock(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        found[f"{name}, s"] = round(time.perf_counter() - began, 3)
        return result

    draw = clock("draw", partial(draw_respondents, study, panel, book))
    simulation = Simulation(
        id="fg_bench",
        status="COMPLETED",
        created_at=1_790_000_000,
        study=study,
        panel=panel,
        book=book,
        failures={},
        draw=draw,
        method=Method("none", "random@1", "this person", 2, "sha256:0"),
        draw_reference=partial(draw_reference, study, panel, book),
    )
    clock("estimates and tables", partial(build_results, simulation))
    for file_format in FORMATS:
        clock(file_format, partial(build_export, simulation, file_format))
    found["all, s"] = round(sum(found.values()), 3)
    # Kilobytes on Linux, bytes on macOS.
    unit = 1024 if sys.platform == "darwin" else 1
    found["memory, MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit / 1024, 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--respondents", type=int, default=2000)
    parser.add_argument("--choices", action="store_true", help="with a conjoint and a MaxDiff")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = run(args.respondents, args.choices)
    rows = [{"part": name, "reading": value} for name, value in found.items()]
    summary = {
        "personas": PERSONAS,
        "questions": 20,
        "respondents": args.respondents,
        "choices": args.choices,
    }
    show("studies", rows, as_json=args.json, summary=summary)


if __name__ == "__main__":
    main()
