"""/focus-groups on a running server, which starts the process that runs studies."""

import asyncio
import csv
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from mavera.personas.builtin import PersonaLibrary
from mavera.settings import Settings
from tests.support.processes import books, make_key, serving
from tests.support.tables import make_tables

PEOPLE = [persona.id for persona in list(PersonaLibrary.load())[:3]]
BODY: dict[str, Any] = {
    "name": "Oat drink",
    "persona_ids": PEOPLE,
    "sample_size": 30,
    "seed": 3,
    "questions": [
        {"id": "q1", "type": "yes_no", "text": "Do you drink oat milk?"},
        {"id": "q2", "type": "nps", "text": "How likely are you to recommend it?"},
        {"id": "q3", "type": "open_ended", "text": "Why?", "verbatims": 2},
    ],
    "banner": ["persona"],
}
PRICE = 33 + 50 + 6
Call = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="module")
def key(data_dir: Path) -> str:
    make_tables(f"sqlite:///{data_dir}/mavera.db")
    return asyncio.run(make_key(Settings(data_dir=data_dir), 100_000))


@pytest.fixture(scope="module")
def call(data_dir: Path, key: str) -> Iterator[Call]:
    with serving({}, data_dir) as (url, _), httpx.Client(timeout=60) as client:
        base = url.removesuffix("/responses")

        def call(method: str, path: str, **options: Any) -> httpx.Response:
            headers = {"Authorization": f"Bearer {key}", **options.pop("headers", {})}
            return client.request(method, f"{base}/focus-groups{path}", headers=headers, **options)

        yield call


def wait_for(call: Call, study_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found: dict[str, Any] = call("GET", f"/{study_id}").json()
        if found["status"] not in ("PENDING", "PROCESSING"):
            return found
        time.sleep(0.3)
    raise AssertionError(found)


@pytest.fixture(scope="module")
def done(call: Call) -> dict[str, Any]:
    made = call("POST", "", json=BODY)
    assert made.status_code == 202, made.text
    assert made.json()["status"] == "PENDING"
    return wait_for(call, made.json()["id"])


def test_a_study_completes_with_results_tables_and_its_price(done: dict[str, Any], data_dir: Path) -> None:
    assert done["status"] == "COMPLETED"
    assert done["synthetic"] is True
    assert done["progress"]["failed"] == 0
    assert done["usage"]["credits_used"] == PRICE
    assert [one["question_id"] for one in done["results"]] == ["q1", "q2", "q3"]
    assert sum(done["results"][0]["distribution"].values()) == pytest.approx(1)
    assert -100 <= done["results"][1]["score"] <= 100
    assert done["tables"]
    assert "synthetic" in str(done["notices"]).lower() or "Simulated" in done["notices"][0]
    balance, added_up, held = asyncio.run(books(Settings(data_dir=data_dir)))
    assert balance == added_up
    assert held == 0


def test_a_dry_run_starts_nothing(call: Call) -> None:
    before = len(call("GET", "").json()["data"])
    quote = call("POST", "", json={**BODY, "dry_run": True})
    assert quote.status_code == 200
    assert quote.json()["credits"] == PRICE
    assert quote.json()["model_reads"] == 4 * (2 + 2 + 2)
    assert len(call("GET", "").json()["data"]) == before


def test_rows_cells_and_files_come_back(call: Call, done: dict[str, Any]) -> None:
    first = call("GET", f"/{done['id']}/responses", params={"limit": 20}).json()
    assert len(first["data"]) == 20
    rest = call("GET", f"/{done['id']}/responses", params={"cursor": first["next_cursor"]}).json()
    assert len(rest["data"]) == 10
    assert rest["next_cursor"] is None
    assert first["data"][0]["answers"]["q1"]["value"] in ("Yes", "No")
    cells = call("GET", f"/{done['id']}/cells").json()["data"]
    assert len(cells) == 12
    assert cells[0]["reads"][0]["order"]
    for kind in ("csv", "xlsx", "sav", "triples", "json", "cells", "html"):
        file = call("GET", f"/{done['id']}/export", params={"format": kind})
        assert file.status_code == 200, (kind, file.text[:300])
        assert file.content
        assert "attachment" in file.headers["content-disposition"]


def test_a_copy_reuses_the_cells_and_a_comparison_shows_both(call: Call, done: dict[str, Any]) -> None:
    copy = call("POST", f"/{done['id']}/copy", json={"sample_size": 60})
    assert copy.status_code == 202, copy.text
    second = wait_for(call, copy.json()["id"])
    assert second["status"] == "COMPLETED"
    assert second["usage"] == {"credits_used": 50, "model_reads": 0}
    assert second["results"][0]["distribution"] == done["results"][0]["distribution"]
    compared = call("GET", "/compare", params={"ids": f"{done['id']},{second['id']}"}).json()
    line = compared["questions"][0]["lines"][0]
    assert line["values"][0] == line["values"][1]


def test_answers_of_people_are_combined(call: Call, done: dict[str, Any]) -> None:
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(["persona_id", "q1", "q2"])
    for number in range(40):
        rows.writerow([PEOPLE[number % 3], "Yes" if number % 2 else "no", number % 11])
    kept = call("POST", f"/{done['id']}/human", json={"csv": out.getvalue()})
    assert kept.status_code == 200, kept.text
    human = call("GET", f"/{done['id']}").json()["human"]
    assert human["people"] == 40
    figures = next(one for one in human["estimates"] if one["question_id"] == "q1")["figures"]
    yes = next(one for one in figures if one["label"] == "Yes")
    assert yes["people"] == pytest.approx(0.5)
    assert yes["rectified_interval"][0] < yes["rectified"] < yes["rectified_interval"][1]
    refused = call("POST", f"/{done['id']}/human", json={"csv": "q1\n" + "Perhaps\n" * 3})
    assert refused.status_code == 422
    assert "q1" in refused.json()["error"]["message"]


def test_the_same_request_with_one_idempotency_key_makes_one_study(call: Call) -> None:
    made = [call("POST", "", json=BODY, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert made[0].json()["id"] == made[1].json()["id"]
    wait_for(call, made[0].json()["id"])


def test_a_study_is_cancelled_and_deleted(call: Call, done: dict[str, Any]) -> None:
    made = call("POST", "", json={**BODY, "seed": 99}).json()
    assert call("POST", f"/{made['id']}/cancel").status_code == 200
    ended = wait_for(call, made["id"])
    assert ended["status"] in ("CANCELLED", "COMPLETED")
    assert call("DELETE", f"/{made['id']}").json() == {
        "id": made["id"],
        "object": "focus_group.deleted",
        "deleted": True,
    }
    assert call("GET", f"/{made['id']}").status_code == 404


def test_a_questionnaire_is_imported(call: Call) -> None:
    survey = '{"elements": [{"type": "boolean", "name": "q1", "title": "Do you drink oat milk?"}]}'
    imported = call("POST", "/import", json={"content": survey})
    assert imported.status_code == 200, imported.text
    assert imported.json()["format"] == "surveyjs"
    assert imported.json()["study"]["questions"][0]["type"] == "yes_no"


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"persona_ids": ["cmwqagvb8bptiksd9igrduuzz"]}, 404, "persona_ids[0]"),
        ({"persona_ids": PEOPLE * 4}, 422, "persona_ids"),
        ({"questions": []}, 422, "questions"),
        ({"questions": BODY["questions"] * 2}, 422, "questions[3].id"),
        ({"sample_size": 0}, 422, "sample_size"),
        ({"model": "no-such-model"}, 422, "model"),
        ({"colour": "red"}, 400, "colour"),
        ({"webhook": "http://127.0.0.1/x"}, 400, "webhook"),
        ({"study": {"name": "Twice"}}, 400, "name"),
    ],
)
def test_bad_input_starts_nothing_and_names_the_field(
    call: Call, change: dict[str, Any], status: int, param: str | None
) -> None:
    refused = call("POST", "", json={**BODY, **change})
    assert refused.status_code == status, refused.text
    assert refused.json()["error"]["param"] == param


def test_another_workspace_finds_nothing(call: Call, done: dict[str, Any], data_dir: Path) -> None:
    other = asyncio.run(make_key(Settings(data_dir=data_dir), 1000))
    for method, path in (
        ("GET", ""),
        ("GET", "/cells"),
        ("GET", "/responses"),
        ("GET", "/export?format=csv"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("DELETE", ""),
    ):
        found = call(method, f"/{done['id']}{path}", headers={"Authorization": f"Bearer {other}"})
        assert found.status_code == 404, (method, path)
    assert call("GET", "", headers={"Authorization": f"Bearer {other}"}).json()["data"] == []
