"""
How many reads of the model a study of 10 personas and 20 questions needs, and how long they take.

    python -m bench.study_reads [--respondents 200 2000] [--json]

20 questions (yes/no and single choices), two orders, with the baseline, by a new server with an empty data
directory, so no persona has been read before. The first number of respondents is timed from the request to
the last file; further numbers are copies, which need no further read. "processor_s" is the time of the server
with its engine and worker, which hardly changes beside other work. "quoted" is what `dry_run` says.
"""

import argparse
import time
from typing import Any

import httpx2 as httpx

from bench.beside_edsl import Serving, serving
from bench.report import show
from mavera.focus_groups.exports import FORMATS
from mavera.personas.builtin import PersonaLibrary

PERSONAS = 10
SUBJECTS = ("oat milk", "instant coffee", "sparkling water", "green tea", "orange juice")
ASKED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Do you buy {} at least once a month?", ()),
    ("How often do you drink {}?", ("Every day", "Some days a week", "Rarely", "Never")),
    ("Would you recommend {} to a friend?", ()),
    ("What matters most to you in {}?", ("Taste", "Price", "Health", "Brand", "Packaging")),
)


def build_members(respondents: int) -> dict[str, Any]:
    library = PersonaLibrary.load()
    questions: list[dict[str, Any]] = []
    for subject in SUBJECTS:
        for text, options in ASKED:
            question: dict[str, Any] = {"id": f"q{len(questions) + 1}", "text": text.format(subject)}
            kind = {"type": "multiple_choice", "options": list(options)} if options else {"type": "yes_no"}
            questions.append(question | kind)
    return {
        "study": 1,
        "name": "Reads",
        "personas": [one.id for one in list(library)[:PERSONAS]],
        "sample": {"size": respondents, "seed": 1},
        "questions": questions,
    }


def wait_for_end(client: httpx.Client, study: dict[str, Any]) -> dict[str, Any]:
    while study["status"] in ("PENDING", "PROCESSING"):
        time.sleep(0.5)
        study = client.get(f"/focus-groups/{study['id']}").raise_for_status().json()
    if study["status"] != "COMPLETED":
        raise RuntimeError(f"The study ended as {study['status']}: {study.get('error')}")
    for kind in FORMATS:
        client.get(f"/focus-groups/{study['id']}/export", params={"format": kind}).raise_for_status()
    return study


def run(server: Serving, respondents: int, source: str | None) -> dict[str, Any]:
    """Run a study, or a copy of `source` with another number of respondents."""
    client = server.client
    body: dict[str, Any] = {"study": build_members(respondents)}
    quote = client.post("/focus-groups", json=body | {"dry_run": True}).raise_for_status().json()
    before, began = server.read_processor(), time.perf_counter()
    if source is None:
        answer = client.post("/focus-groups", json=body)
    else:
        answer = client.post(f"/focus-groups/{source}/copy", json={"sample_size": respondents})
    study = wait_for_end(client, answer.raise_for_status().json())
    return {
        "respondents": respondents,
        "seconds": round(time.perf_counter() - began, 1),
        "processor_s": round(server.read_processor().since(before), 1),
        "reads": study["usage"]["model_reads"],
        "quoted": quote["model_reads"],
        "prior": quote["prior_reads"],
        "failed": study["progress"]["failed"],
        "id": study["id"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--respondents", nargs="+", type=int, default=[200, 2000])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with serving() as server:
        for respondents in options.respondents:
            rows.append(run(server, respondents, rows[0]["id"] if rows else None))
    show(
        "study_reads",
        rows,
        as_json=options.json,
        summary={"personas": PERSONAS, "questions": len(SUBJECTS) * 4},
    )


if __name__ == "__main__":
    main()
