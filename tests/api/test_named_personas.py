"""A persona in the name of the model, or in a header, for clients that cannot send `persona_id`."""

from typing import Any

import httpx2 as httpx
import pytest

from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.slugs import find_by_slug, slug_of
from tests.conftest import Serve, Served

LIBRARY = PersonaLibrary.load()
PERSONA = LIBRARY.find("Gen Z Consumer")
OTHER = LIBRARY.find("SMB owner")
SLUG = "gen-z-consumer"
MADE = {
    "pipeline_type": "intermediate",
    "name": "Honey 🐝 buyer",
    "type": "B2C",
    "goals": ["honey of the valley"],
    "objections": ["it is dear"],
}


def ask(served: Served, model: str, *, chat: bool = False, header: str | None = None, **members: Any) -> Any:
    path, said = ("chat/completions", "messages") if chat else ("responses", "input")
    headers = served.headers | ({"X-Persona-Id": header} if header is not None else {})
    body = {"model": model, said: [{"role": "user", "content": "Well?"}], **members}
    return httpx.post(f"{served.base_url}/{path}", json=body, headers=headers, timeout=60)


def spoke_as(model: ScriptedModel) -> str:
    return model.prompts[-1].items[0].text  # type: ignore[union-attr]


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("named", [SLUG, PERSONA.id])
def test_the_persona_behind_the_model_answers(serve: Serve, chat: bool, stream: bool, named: str) -> None:
    served = serve(model := ScriptedModel())
    ask(served, "mavera-1", chat=chat, persona_id=PERSONA.id)
    wanted = spoke_as(model)

    answer = ask(served, f"mavera-1/{named}", chat=chat, stream=stream)

    assert answer.status_code == 200, answer.text
    assert spoke_as(model) == wanted
    assert f'"model":"mavera-1/{named}"' in answer.text
    if not chat:
        assert f'"persona_id":"{PERSONA.id}"' in answer.text


def test_the_persona_of_the_header_answers(serve: Serve) -> None:
    served = serve(ScriptedModel())

    assert ask(served, "mavera-1", header=SLUG).json()["persona_id"] == PERSONA.id
    same = ask(served, f"mavera-1/{SLUG}", header=PERSONA.id, persona_id=PERSONA.id)
    assert same.json()["persona_id"] == PERSONA.id
    audience: dict[str, Any] = {"mosaic_mode": True, "persona_ids": [PERSONA.id, OTHER.id]}
    assert ask(served, "mavera-1", header=SLUG, **audience).status_code == 200


@pytest.mark.parametrize(
    ("model", "header", "members", "places"),
    [
        ("mavera-1", SLUG, {"persona_id": OTHER.id}, ("persona_id", "X-Persona-Id")),
        (f"mavera-1/{SLUG}", None, {"persona_id": OTHER.id}, ("persona_id", "model")),
        (f"mavera-1/{SLUG}", OTHER.id, {}, ("model", "X-Persona-Id")),
    ],
)
def test_two_personas_are_an_error_that_names_both(
    serve: Serve, model: str, header: str | None, members: dict[str, Any], places: tuple[str, str]
) -> None:
    answer = ask(serve(ScriptedModel()), model, header=header, **members)

    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert all(part in message for part in (*places, PERSONA.id, OTHER.id))


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("name", ["gen-z-consumr", "", "a/b", "c" + "0" * 24, "x" * 150])
def test_an_unknown_persona_behind_the_model_is_not_found(serve: Serve, chat: bool, name: str) -> None:
    answer = ask(serve(ScriptedModel()), f"mavera-1/{name}", chat=chat)

    error = answer.json()["error"]
    if name == "a/b":
        assert (answer.status_code, error["code"]) == (422, "validation_error")
    else:
        assert (answer.status_code, error["code"]) == (404, "persona_not_found")
    assert error["param"] == "model"


@pytest.mark.parametrize("name", ["gpt-4o", "mavera", f"gpt-4o/{SLUG}"])
def test_an_unknown_model_is_refused_with_the_known_ones(serve: Serve, name: str) -> None:
    answer = ask(serve(ScriptedModel()), name)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (422, "validation_error", "model")
    assert "mavera-1" in error["message"]


def test_models_are_listed_with_their_personas_if_that_is_wanted(serve: Serve) -> None:
    def ids(served: Served, query: str = "") -> list[str]:
        listed = httpx.get(f"{served.base_url}/models{query}", headers=served.headers).json()
        return [model["id"] for model in listed["data"]]

    served = serve(ScriptedModel())
    assert ids(served) == ["mavera-1"]
    asked = ids(served, "?personas=true")
    assert asked[0] == "mavera-1"
    assert f"mavera-1/{SLUG}" in asked
    listing = serve(ScriptedModel(), list_persona_models=True)
    assert ids(listing) == asked
    assert ids(listing, "?personas=false") == ["mavera-1"]


@pytest.mark.parametrize("named", [SLUG, PERSONA.id])
def test_a_model_with_a_persona_is_found_by_its_id(serve: Serve, named: str) -> None:
    served = serve()

    for path in (f"mavera-1/{named}", f"mavera-1%2F{named}"):
        found = httpx.get(f"{served.base_url}/models/{path}", headers=served.headers)
        assert found.status_code == 200, found.text
        assert found.json()["id"] == f"mavera-1/{SLUG}"
        assert found.json()["name"] == PERSONA.name
    assert served.client().models.retrieve(f"mavera-1/{named}").id == f"mavera-1/{SLUG}"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("mavera-1/nobody", "persona_not_found"),
        (f"gpt-4/{SLUG}", "not_found"),
        (f"mavera-1/{SLUG}/more", "not_found"),
    ],
)
def test_an_unknown_model_or_persona_is_not_found_by_its_id(serve: Serve, path: str, code: str) -> None:
    served = serve()

    missed = httpx.get(f"{served.base_url}/models/{path}", headers=served.headers)

    assert (missed.status_code, missed.json()["error"]["code"]) == (404, code)


def test_a_model_picked_from_the_menu_answers_as_a_chat_front_end_asks_it(serve: Serve) -> None:
    """Open WebUI and LibreChat read GET /models, and send one of its ids to /chat/completions, streamed."""
    served = serve(model := ScriptedModel(), list_persona_models=True)
    menu = httpx.get(f"{served.url}/v1/models", headers=served.headers).json()["data"]
    entry = next(entry for entry in menu if entry.get("name") == PERSONA.name)

    messages = [{"role": "user", "content": "Well?"}]
    body = {
        "model": entry["id"],
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    answer = httpx.post(f"{served.url}/v1/chat/completions", json=body, headers=served.headers)

    assert answer.status_code == 200
    asked = spoke_as(model)
    ask(served, "mavera-1", chat=True, persona_id=PERSONA.id)
    assert asked == spoke_as(model)


def test_a_custom_persona_has_a_slug_that_outlives_its_name(serve: Serve) -> None:
    served = serve(ScriptedModel())
    made = httpx.post(f"{served.base_url}/personas", json=MADE, headers=served.headers).json()
    slug = made["slug"]
    one = f"{served.base_url}/personas/{made['id']}"
    assert slug == f"honey-buyer-{made['id'][-8:]}"
    assert ask(served, f"mavera-1/{slug}").json()["persona_id"] == made["id"]

    renamed = httpx.patch(one, json={"name": "Wax buyer"}, headers=served.headers).json()

    assert renamed["slug"] == f"wax-buyer-{made['id'][-8:]}"
    for name in (slug, renamed["slug"], made["id"]):
        assert ask(served, f"mavera-1/{name}").json()["persona_id"] == made["id"]


def test_slugs_of_the_library_are_unique_and_listed(serve: Serve) -> None:
    slugs = [slug_of(persona) for persona in LIBRARY]
    assert len(set(slugs)) == len(slugs)
    assert all(find_by_slug(slug, LIBRARY) is persona for slug, persona in zip(slugs, LIBRARY, strict=True))
    served = serve(ScriptedModel())
    listed = httpx.get(f"{served.base_url}/personas?limit=100", headers=served.headers).json()["data"]
    assert {one["slug"] for one in listed} == set(slugs)
