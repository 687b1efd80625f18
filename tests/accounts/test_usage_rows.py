"""A row of usage says which operation and model it was, and whose, without naming the person."""

import asyncio
import json

import pytest
from websockets.sync.client import connect

from mavera.accounts.credits.usage import count_recent_personas
from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.runs.admission import END_USER
from mavera.services import open_store
from mavera.settings import load_settings
from mavera.storage.database import Row
from mavera.storage.sealing import open_secrets
from tests.conftest import Serve
from tests.support.team import ASK, Team, serve_on, team

CHAT = {"model": "mavera-1", "messages": [{"role": "user", "content": "Would you pay?"}]}
PERSON = {"user": "ann@example.com"}


def rows_by_operation(t: Team, runs: int) -> dict[str, Row]:
    t.settled(runs)
    return {row["operation"]: row for row in t.rows("SELECT * FROM usage")}


def test_each_operation_is_noted_with_the_model_that_answered(serve: Serve, database_url: str) -> None:
    t = team(serve_on(serve, database_url, ScriptedModel(["Yes."])))
    t.post("/responses", {**ASK, **PERSON})
    t.post("/chat/completions", CHAT)
    t.post("/responses/compact", ASK)
    made = t.post("/personas", {"pipeline_type": "advanced", "name": "Ann", "description": "A baker."})
    assert made.status_code == 402
    rows = rows_by_operation(t, 3)
    assert sorted(rows) == ["chat_completions", "compaction", "responses"]
    assert {row["model"] for row in rows.values()} == {"scripted"}
    assert {row["upstream_nanos"] for row in rows.values()} == {None}
    assert [name for name, row in rows.items() if row["end_user_digest"] is not None] == ["responses"]


@pytest.mark.parametrize("pepper", ["", "a pepper"])
def test_a_person_is_found_by_the_secret_in_both_formats_and_over_a_websocket(
    serve: Serve, database_url: str, pepper: str
) -> None:
    served = serve_on(serve, database_url, ScriptedModel(["Yes."]), key_pepper=pepper)
    t = team(served)
    t.post("/responses", {**ASK, **PERSON})
    t.post("/chat/completions", {**CHAT, **PERSON, "stream": True})
    t.post("/responses", {**ASK, "user": "somebody else", "safety_identifier": PERSON["user"]})
    t.post("/responses", {**ASK, "user": "somebody else"})
    t.post("/responses", {**ASK, "user": ""})
    url = served.base_url.replace("http", "ws", 1) + "/responses"
    with connect(url, additional_headers={"Authorization": f"Bearer {t.key}"}) as connection:
        connection.send(json.dumps({"type": "response.create", **ASK, **PERSON}))
        while json.loads(connection.recv(timeout=20))["type"] != "response.completed":
            pass
    t.settled(6)
    digest = open_secrets(served.settings).keys_of(t.workspace_id)[0].digest(END_USER, PERSON["user"])
    found = t.rows("SELECT run_id FROM usage WHERE end_user_digest = :digest", digest=digest)
    assert len(found) == 4
    assert len(t.rows("SELECT run_id FROM usage WHERE end_user_digest IS NULL")) == 1
    elsewhere = open_secrets(served.settings).keys_of("another workspace")[0]
    assert digest != elsewhere.digest(END_USER, PERSON["user"])


def test_a_persona_that_no_model_drafts_names_none(serve: Serve, database_url: str) -> None:
    t = team(serve_on(serve, database_url, ScriptedModel(["Yes."]), persona_credits="1"))
    made = t.post("/personas", {"pipeline_type": "advanced", "name": "Ann", "description": "A baker."})
    assert made.status_code == 201, made.text
    [row] = t.rows("SELECT operation, model FROM usage")
    assert (row["operation"], row["model"]) == ("personas", None)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"model_backend": "scripted"}, "scripted"),
        ({"model": "smollm2-135m"}, "smollm2-135m"),
        ({"model_path": "/models/mine.gguf"}, "mine.gguf"),
        ({"upstream_base_url": "http://127.0.0.1:1/v1", "upstream_model": "large"}, "large"),
    ],
)
def test_the_name_of_the_model_that_answers(given: dict[str, str], name: str) -> None:
    assert load_settings({}, **given).answering_model == name


def test_the_personas_of_the_latest_runs_are_counted(serve: Serve, database_url: str) -> None:
    served = serve_on(serve, database_url, ScriptedModel(["Yes."]))
    t, personas = team(served), [persona.id for persona in PersonaLibrary.load()][:2]
    for number, persona_id in enumerate([personas[0], personas[1], personas[0], None], start=1):
        t.post("/responses", {**ASK, "persona_id": persona_id} if persona_id else ASK)
        t.settled(number)
    # Runs of one second have no order among themselves, so all or none of them are asked for.

    async def count(runs: int) -> dict[str, int]:
        async with open_store(served.settings) as database:
            return await count_recent_personas(database, t.workspace_id, runs=runs)

    assert asyncio.run(count(10)) == {personas[0]: 2, personas[1]: 1}
    assert asyncio.run(count(0)) == {}
