"""
The same survey by EDSL and by a study of ours: how long, and how many calls of the model.

    python -m bench.beside_edsl --edsl build/edsl/bin/python [--respondents 20] [--only ours edsl] [--json]

3 personas × 4 questions with one answer. EDSL is a client of our own server, in an environment of its own
(`python -m venv build/edsl && build/edsl/bin/pip install edsl==1.0.9 openai`), and calls the model for every
respondent and question. Each side gets a new server with an empty data directory, so no persona has been
read before; the model is loaded by one call without a persona. EDSL's agents are described by the text of
the same personas. "calls" are counted by the server for EDSL, and by the study for ours. "processor_s" is the
time of the server with its engine and worker, and of EDSL's client: it hardly changes beside other work.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx

from bench.processor import Usage
from bench.report import show
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.prompt import build_system_text

PERSONAS = ("Boomer", "Budget Shopper", "Millennial Professional")
# Twice the places of the engine: it never waits for EDSL, and EDSL's own deadline for a call is not reached.
PLACES = 8
QUESTIONS: list[dict[str, Any]] = [
    {"name": "would_try", "text": "Would you try a new oat drink?", "options": ["Yes", "No"]},
    {
        "name": "where",
        "text": "Where do you buy most of your groceries?",
        "options": ["Supermarket", "Discounter", "Market", "Online"],
    },
    {
        "name": "often",
        "text": "How often do you drink coffee?",
        "options": ["Every day", "Some days a week", "Rarely", "Never"],
    },
    {
        "name": "matters",
        "text": "What matters most to you in a drink?",
        "options": ["Taste", "Price", "Health", "Brand", "Packaging"],
    },
]


@dataclass(frozen=True)
class Serving:
    """A running server: a client with its key, and the id of its process."""

    client: httpx.Client
    pid: int

    def read_processor(self) -> Usage:
        return Usage.of([self.pid])


@contextmanager
def serving() -> Iterator[Serving]:
    """Run a server with an empty data directory, the model loaded."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "MAVERA_DATA_DIR": folder,
            "MAVERA_LOG_LEVEL": "error",
            "MAVERA_MAX_WAITING": "1000",
        }
        command = [sys.executable, "-m", "mavera", "serve", "--port", "0"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
            try:
                url, key = read_address(server)
                headers = {"Authorization": f"Bearer {key}"}
                with httpx.Client(base_url=url, headers=headers, timeout=600) as client:
                    loading = {"model": "mavera-1", "input": "Say yes.", "max_output_tokens": 16}
                    client.post("/responses", json=loading).raise_for_status()
                    yield Serving(client, server.pid)
            finally:
                server.terminate()
                server.wait(60)


def read_address(server: "subprocess.Popen[str]") -> tuple[str, str]:
    """Return the address and the first key of a server, from what it prints."""
    assert server.stdout is not None
    text = ""
    for line in server.stdout:
        text += line
        key = re.search(r"mvra_live_\w+", text)
        url = re.search(r"http://\S+/api/v1", text)
        if key and url and line.lstrip().startswith("-d "):
            return url[0], key[0]
    raise RuntimeError("The server ended before it printed its key.")


def ask_by_edsl(python: Path, respondents: int) -> dict[str, Any]:
    library = PersonaLibrary.load()
    agents = {name: build_system_text(library.find(name)) for name in PERSONAS}
    with serving() as server, tempfile.TemporaryDirectory() as home:
        client = server.client
        job = {
            "url": str(client.base_url).rstrip("/"),
            "model": "mavera-1",
            "agents": agents,
            "questions": QUESTIONS,
            "respondents": respondents,
            "places": PLACES,
        }
        environment = {
            "HOME": home,
            "PATH": os.environ["PATH"],
            "OPENAI_COMPATIBLE_API_KEY": client.headers["Authorization"].removeprefix("Bearer "),
            "EDSL_API_TIMEOUT": "3600",
        }
        command = [str(python), str(Path(__file__).with_name("edsl_client.py"))]
        before, own = server.read_processor(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            command, env=environment, input=json.dumps(job), stdout=subprocess.PIPE, text=True, check=True
        )
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor_s = server.read_processor().since(before) + sum(used[:2]) - sum(own[:2])
        found = json.loads(done.stdout[done.stdout.rindex("{") :])
        return {
            "side": "edsl",
            "seconds": round(found["seconds"], 1),
            "processor_s": round(processor_s, 1),
            "calls": count_calls(client),
            "unusable": found["unusable"],
        }


def count_calls(client: httpx.Client) -> int:
    """Return the number of completed chat completions in the log of requests."""
    number, cursor = 0, None
    while True:
        page = client.get("/requests", params={"limit": 100, **({"cursor": cursor} if cursor else {})}).json()
        number += [one["operation"] for one in page["data"]].count("chat_completions")
        cursor = page["next_cursor"]
        if not cursor:
            return number


def ask_by_study(respondents: int) -> dict[str, Any]:
    library = PersonaLibrary.load()
    study = {
        "study": 1,
        "name": "Beside EDSL",
        "personas": [library.find(name).id for name in PERSONAS],
        "sample": {"size": respondents * len(PERSONAS), "seed": 1},
        "questions": [
            {"id": one["name"], "type": "multiple_choice", "text": one["text"], "options": one["options"]}
            for one in QUESTIONS
        ],
    }
    with serving() as server:
        client = server.client
        before, began = server.read_processor(), time.perf_counter()
        answer = client.post("/focus-groups", json={"study": study})
        answer.raise_for_status()
        found = answer.json()
        while found["status"] in ("PENDING", "PROCESSING"):
            time.sleep(0.25)
            found = client.get(f"/focus-groups/{found['id']}").json()
        rows = client.get(f"/focus-groups/{found['id']}/export", params={"format": "csv"})
        rows.raise_for_status()
        seconds = time.perf_counter() - began
        if found["status"] != "COMPLETED":
            raise RuntimeError(f"The study ended as {found['status']}: {found.get('error')}")
        failed = found["progress"]["failed"]
        return {
            "side": "ours",
            "seconds": round(seconds, 1),
            "processor_s": round(server.read_processor().since(before), 1),
            "calls": found["usage"]["model_reads"],
            "unusable": failed,
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edsl", type=Path, default=Path("build/edsl/bin/python"), metavar="PYTHON")
    parser.add_argument("--respondents", type=int, default=20, help="for each persona")
    parser.add_argument("--only", nargs="+", choices=("ours", "edsl"), default=["ours", "edsl"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    if "ours" in options.only:
        rows.append(ask_by_study(options.respondents))
    if "edsl" in options.only:
        rows.append(ask_by_edsl(options.edsl, options.respondents))
    summary: dict[str, Any] = {"personas": len(PERSONAS), "questions": len(QUESTIONS)}
    summary["respondents a persona"] = options.respondents
    if len(rows) == 2:
        for name in ("seconds", "processor_s"):
            summary[f"times less {name}"] = round(rows[1][name] / rows[0][name], 2)
    show("beside_edsl", rows, as_json=options.json, summary=summary)


if __name__ == "__main__":
    main()
