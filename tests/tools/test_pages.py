"""What the server shows beside answers: health, models, personas, its own description."""

import json
import time
from typing import Any

import httpx2
import openai
import pytest

from mavera.app import OPERATIONS
from mavera.models.model import ModelStatus
from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.prompt import build_system_text
from tests.conftest import Serve, Served, revoke

PUBLIC = {"id", "object", "name", "category", "description", "is_custom", "is_expert", "created_at", "slug"}


class Unavailable(ScriptedModel):
    def status(self) -> ModelStatus:
        return ModelStatus("unavailable", "No model is here. Type: mavera models pull")


def get(served: Served, path: str, **options: Any) -> httpx2.Response:
    return httpx2.get(served.url + path, headers=served.headers, **options)


def test_a_process_without_a_model_is_alive_and_not_ready_and_says_what_to_do(serve: Serve) -> None:
    served = serve(Unavailable())

    assert httpx2.get(f"{served.url}/health/live").json() == {"status": "alive"}
    ready = httpx2.get(f"{served.url}/health/ready")
    assert ready.status_code == 503
    assert ready.json()["model"]["detail"] == "No model is here. Type: mavera models pull"
    assert get(served, "/api/v1/personas").status_code == 200


def test_a_process_with_a_model_is_ready(serve: Serve) -> None:
    ready = httpx2.get(f"{serve().url}/health/ready")

    assert (ready.status_code, ready.json()["status"]) == (200, "ready")


def test_models_are_listed_as_openai_lists_them(serve: Serve) -> None:
    client = serve().client()

    assert [model.id for model in client.models.list()] == ["mavera-1"]
    assert client.models.retrieve("mavera-1").owned_by == "mavera"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_personas_come_page_by_page_with_their_public_side_only(serve: Serve) -> None:
    served = serve()
    library = PersonaLibrary.load()

    seen: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = get(served, f"/api/v1/personas?limit=5{cursor}").json()
        assert page["object"] == "list"
        assert page["has_more"] == (page["next_cursor"] is not None)
        seen += page["data"]
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"

    assert [persona["id"] for persona in seen] == [persona.id for persona in library.list()]
    assert all(set(persona) == PUBLIC for persona in seen)
    prompts = [build_system_text(persona)[:60] for persona in library.list()]
    assert not any(prompt in json.dumps(seen) for prompt in prompts)


def test_personas_are_filtered_and_found_by_id(serve: Serve) -> None:
    served = serve()
    gen_z = PersonaLibrary.load().find("Gen Z Consumer")

    found = get(served, "/api/v1/personas?category=Generational&search=z").json()["data"]
    assert gen_z.id in {persona["id"] for persona in found}
    assert {persona["category"] for persona in found} == {"Generational"}
    assert get(served, f"/api/v1/personas/{gen_z.id}").json()["name"] == "Gen Z Consumer"
    assert get(served, "/api/v1/personas/cnobody").json()["error"]["code"] == "persona_not_found"


def test_every_answer_has_a_request_id_of_its_own(serve: Serve) -> None:
    served = serve()

    answers = [
        get(served, path) for path in ("/health/live", "/api/v1/models", "/nowhere", "/api/v1/personas")
    ]

    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == len(answers)
    assert all(request_id.startswith("req_") for request_id in ids)


def test_a_revoked_key_stops_within_a_second(serve: Serve) -> None:
    served = serve()
    assert get(served, "/api/v1/models").status_code == 200
    revoke(served)
    time.sleep(1.1)

    assert get(served, "/api/v1/models").status_code == 401


def test_the_description_names_every_operation_and_all_its_references_resolve(serve: Serve) -> None:
    document = httpx2.get(f"{serve().url}/openapi.json").json()

    described = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, item in document["paths"].items()
        for method in item
    }
    assert described == {(operation.method, operation.path) for operation in OPERATIONS}
    names = set(document["components"]["schemas"])
    assert {"CreateResponse", "CreateChatCompletion", "ErrorBody", "PersonaObject"} <= names
    assert set(_references(document)) <= {f"#/components/schemas/{name}" for name in names}


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in _references(value)]
    if isinstance(node, list):
        return [found for value in node for found in _references(value)]
    return []


def test_the_docs_page_needs_nothing_from_elsewhere(serve: Serve) -> None:
    served = serve()

    page = httpx2.get(f"{served.url}/docs")

    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assets = [part.split('"')[0] for part in page.text.replace('src="', 'href="').split('href="')[1:]]
    own = [asset for asset in assets if not asset.startswith("data:")]
    assert len(own) == 4
    for asset in own:
        assert asset.startswith("/docs/")
        assert httpx2.get(served.url + asset).status_code == 200
