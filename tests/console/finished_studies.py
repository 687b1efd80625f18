"""Run a study to its end on the store of a server, with the command line, as an operator does."""

import os
from pathlib import Path

from msgspec.structs import replace

from mavera.focus_groups import repository
from mavera.storage.database import Database
from tests.conftest import Served
from tests.console.visitors import run_on_store
from tests.support.command import run_mavera

STUDY = """
name: Oat <b>drink</b> {{7*7}}
personas: [gen-z-consumer, boomer, budget-shopper]
sample: {size: 2000, seed: 7}
stimulus: {text: "A new <script>alert(1)</script> drink."}
cells:
  - {id: a, vars: {price: $3.49}}
  - {id: b, vars: {price: $4.49}}
questions:
  - {id: q1, type: yes_no, text: "Would you <img src=x onerror=alert(1)> try it at {price}?"}
  - {id: q2, type: nps, text: Would you recommend it?}
  - id: q3
    type: multiple_choice
    multiple: true
    text: What speaks for it?
    options: [Taste, "</svg><script>alert(1)</script>", {text: None, exclusive: true, fixed: true}]
  - {id: q4, type: matrix, text: How is it?, rows: [Fresh, Modern], points: 5}
  - {id: q5, type: maxdiff, text: What matters?, items: [Price, Taste, Protein, Brand, Pack], per_set: 3}
  - id: q6
    type: conjoint
    text: Which one?
    attributes: {brand: [A, B], price: [2.99, 3.99]}
    tasks: 4
    alternatives: 2
  - {id: q7, type: open_ended, text: Why?, verbatims: 3}
banner: [persona, cell]
"""


def run_study(served: Served, folder: Path, text: str = STUDY) -> str:
    """Return the id of the finished study."""
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAVERA_")}
    given = {"MAVERA_MODEL_BACKEND": "scripted", "MAVERA_DATA_DIR": str(served.settings.data_dir)}
    done = run_mavera({**own, **given})("study", "run", str(path), "--json")
    return done.stdout.partition('"id": "')[2].partition('"')[0]


def repeat_study(served: Served, study_id: str) -> str:
    """Return the id of a second wave: a study with the same questions and the same answers."""

    async def repeat(database: Database) -> str:
        row = await repository.find(database, study_id)
        assert row is not None
        cells = await repository.read_cells(database, study_id)
        second = replace(row, id=f"{row.id[:-4]}beef")
        async with database.transaction() as transaction:
            await repository.insert(transaction, second, cells)
        return second.id

    return run_on_store(served, repeat)
