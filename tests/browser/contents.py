"""Fill a server with what its pages show: keys, runs, personas and names that are hostile."""

from pathlib import Path

import httpx2 as httpx

from tests.conftest import Served
from tests.console.finished_studies import repeat_study, run_study
from tests.console.visitors import sign_in

EXAMPLE = Path(__file__).parents[2] / "examples" / "studies" / "concept_test.yaml"
# The answer of every persona in the pictures of the documentation, in pieces.
ANSWER = [
    "I'd **probably** wait. Everyone I know cancelled their subscriptions last year,",
    " so I would be the odd one out.",
    "\n\n- At $5 a month I would try it *tomorrow*.\n- At $9 I keep my needle and thread.",
    "\n\nA friend paid for something like this, and it broke after three weeks.",
    " It will definitely get cheaper.",
]
HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"


def fill_server(served: Served, folder: Path) -> None:
    """Add keys, people and runs, and studies and a persona whose texts are hostile too."""
    admin = sign_in(served, "admin")
    names = ("Nightly report", HOSTILE, "Ω" * 60, "A key with a long name that has to wrap somewhere")
    for place, name in enumerate(names):
        form_id = f"fill-{place}"
        form = {"form_id": form_id, "name": name, "scopes": ["responses"], "expires": "30"}
        admin.post("settings/keys/new", form)
    admin.post("settings/people/invite", {"subject": HOSTILE, "role": "member", "expires": "7"})
    with httpx.Client(base_url=served.base_url, headers=served.headers, timeout=30) as api:
        personas = [persona["id"] for persona in api.get("/personas", params={"limit": 3}).json()["data"]]
        for persona_id in [*personas, None]:
            body = {"model": "mavera-1", "input": "Would you pay for that?", "persona_id": persona_id}
            api.post("/responses", json={name: value for name, value in body.items() if value})
    make_studies(served, folder)
    make_personas(served)


def fill_showroom(served: Served, folder: Path) -> str:
    """
    Fill a server with what a small team would have, for the pictures of the documentation.

    Return the id of its study.
    """
    admin = sign_in(served, "admin")
    keys = (("Pipeline", "responses personas:read", "5,000", ""), ("Dashboard", "usage:read", "", "365"))
    for name, scopes, budget, expires in keys:
        form = {"form_id": name, "name": name, "scopes": scopes.split(), "budget": budget, "expires": expires}
        admin.post("settings/keys/new", form)
    questions = (
        "Would you pay for a wardrobe that repairs itself?",
        "What would make you switch banks?",
        "How do you feel about sustainable fashion?",
    )
    with httpx.Client(base_url=served.base_url, headers=served.headers, timeout=30) as api:
        personas = [persona["id"] for persona in api.get("/personas", params={"limit": 5}).json()["data"]]
        for place, persona_id in enumerate(personas):
            body = {"model": "mavera-1", "input": questions[place % 3], "persona_id": persona_id}
            api.post("/responses", json={**body, "analysis_mode": place % 2 == 0})
    return run_study(served, folder, EXAMPLE.read_text(encoding="utf-8"))


def make_studies(served: Served, folder: Path) -> None:
    """Make two finished waves of a study, with a link to the first one."""
    study = run_study(served, folder)
    repeat_study(served, study)
    admin = sign_in(served, "admin")
    admin.get(f"studies/{study}", timeout=60)  # the first reader waits for the libraries of statistics
    admin.post(f"studies/{study}/shares", {"form_id": "fill-share", "days": "3"}, timeout=60)


def make_personas(served: Served) -> None:
    """Make a persona with a hostile name and two versions."""
    admin = sign_in(served, "admin")
    form = {
        "pipeline": "intermediate",
        "name": HOSTILE,
        "type": "B2B",
        "details.pains": f"{HOSTILE}\nTenders",
    }
    made = admin.post("personas/new", {**form, "form_id": "fill-persona"})
    path = "personas/" + str(made.url).rpartition("/")[2]
    admin.post(f"{path}/edit", {**form, "version": "1", "details.goals": "Calm nights"})
