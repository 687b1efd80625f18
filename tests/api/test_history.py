"""Earlier responses: what a request may refer to instead of sending it again, and who may."""

import asyncio
import time
from typing import Any

import httpx2 as httpx
import pytest

from mavera.accounts.keys.keyring import Keyring
from mavera.accounts.workspaces import NewWorkspace, create
from mavera.models.scripted import ScriptedModel
from mavera.storage.database import Database
from tests.conftest import Serve, Served

TURN = {"model": "mavera-1", "input": "My name is Ada."}
CALL = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
SAID = ["My name is Ada.", "This is a scripted answer to: My name is Ada.", "Who am I?"]


def ask(served: Served, key: str | None = None, once: str | None = None, **members: Any) -> Any:
    headers = {"Authorization": f"Bearer {key or served.key}"} | ({"Idempotency-Key": once} if once else {})
    return httpx.post(f"{served.base_url}/responses", json={**TURN, **members}, headers=headers, timeout=60)


def reference(response: dict[str, Any], number: int = 0, **members: Any) -> dict[str, Any]:
    return {"type": "item_reference", "id": response["output"][number]["id"], **members}


def read_texts(model: ScriptedModel) -> list[str]:
    return [item.text for item in model.prompts[-1].items]  # type: ignore[union-attr]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("named", [True, False])
def test_a_reference_stands_for_the_item_it_names(serve: Serve, stream: bool, named: bool) -> None:
    served = serve(model := ScriptedModel())
    first = ask(served).json()
    item = reference(first) if named else {"id": first["output"][0]["id"]}
    user = {"role": "user", "content": "My name is Ada."}

    answer = ask(served, input=[user, item, {"role": "user", "content": "Who am I?"}], stream=stream)

    assert answer.status_code == 200, answer.text
    assert read_texts(model) == SAID


@pytest.mark.parametrize("first_is_streamed", [False, True])
def test_a_previous_response_brings_all_that_was_said_back(serve: Serve, first_is_streamed: bool) -> None:
    served = serve(model := ScriptedModel())
    client = served.client()
    if first_is_streamed:
        with client.responses.stream(model="mavera-1", input="My name is Ada.") as stream:
            first = stream.get_final_response()
    else:
        first = client.responses.create(model="mavera-1", input="My name is Ada.")  # type: ignore[assignment]
    second = client.responses.create(model="mavera-1", input="Who am I?", previous_response_id=first.id)
    assert read_texts(model) == SAID

    client.responses.create(model="mavera-1", input="And now?", previous_response_id=second.id)

    assert read_texts(model) == [*SAID, "This is a scripted answer to: Who am I?", "And now?"]
    assert (second.store, second.previous_response_id) == (True, first.id)  # type: ignore[attr-defined]


def test_a_long_conversation_comes_back_as_well(serve: Serve) -> None:
    served = serve(model := ScriptedModel())
    words = "word " * 10_000
    first = ask(served, input=words).json()

    second = ask(served, input="Who am I?", previous_response_id=first["id"]).json()

    assert second["previous_response_id"] == first["id"]
    assert read_texts(model)[0] == words
    assert read_texts(model)[2:] == ["Who am I?"]


def test_calls_are_referred_to_and_answered(serve: Serve) -> None:
    served = serve(ScriptedModel())
    first = ask(served, tools=[CALL], tool_choice="required").json()
    call_id = first["output"][0]["call_id"]
    output = {"type": "function_call_output", "call_id": call_id, "output": "12 degrees"}
    user = {"role": "user", "content": "How warm is it?"}

    by_reference = ask(served, input=[user, reference(first), output])
    by_response = ask(served, input=[output], previous_response_id=first["id"])

    assert (by_reference.status_code, by_response.status_code) == (200, 200)


@pytest.mark.parametrize(
    "unknown",
    [
        "msg_1",
        "fc_68b8c4d8a1c08190",
        "rs_" + "0" * 40,
        "msg_" + "é" * 40,
        "",
        "x" * 256,
    ],
)
def test_a_reference_to_nothing_is_an_error_that_says_what_to_send(serve: Serve, unknown: str) -> None:
    served = serve(ScriptedModel())

    answer = ask(
        served, input=[{"role": "user", "content": "Hm?"}, {"type": "item_reference", "id": unknown}]
    )

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", "input[1].id")
    assert "Send the whole conversation in 'input'" in error["message"]


def test_a_reference_without_an_id_names_what_is_missing(serve: Serve) -> None:
    answer = ask(serve(ScriptedModel()), input=[{"type": "item_reference"}])

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input[0].id")


@pytest.mark.parametrize("unknown", ["resp_1", "resp_" + "0" * 24, "msg_" + "0" * 24])
def test_an_unknown_previous_response_has_no_effect_unless_history_is_strict(
    serve: Serve, unknown: str
) -> None:
    answer = ask(serve(ScriptedModel()), previous_response_id=unknown)
    refused = ask(serve(ScriptedModel(), strict_history=True), previous_response_id=unknown)

    assert (answer.status_code, answer.json()["previous_response_id"]) == (200, None)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "previous_response_id")
    assert error["code"] == "previous_response_not_found"


@pytest.mark.parametrize("member", [{"conversation": "conv_1"}, {"prompt": {"id": "pmpt_1"}}])
def test_what_only_openai_stores_has_no_effect_unless_history_is_strict(
    serve: Serve, member: dict[str, Any]
) -> None:
    [name] = member
    answer = ask(serve(ScriptedModel()), **member)
    refused = ask(serve(ScriptedModel(), strict_history=True), **member)

    assert (answer.status_code, answer.json()[name]) == (200, None)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, name)
    assert "Send " in refused.json()["error"]["message"]


@pytest.mark.parametrize(("settings", "members"), [({"response_store": "off"}, {}), ({}, {"store": False})])
def test_what_is_not_to_be_kept_is_not(
    serve: Serve, settings: dict[str, Any], members: dict[str, Any]
) -> None:
    served = serve(ScriptedModel(), **settings)
    first = ask(served, **members).json()

    assert first["store"] is False
    assert ask(served, input=[reference(first)]).status_code == 400
    assert ask(served, previous_response_id=first["id"]).json()["previous_response_id"] is None


def test_neither_another_mode_nor_another_workspace_finds_a_response(serve: Serve) -> None:
    served = serve(ScriptedModel())
    first = ask(served).json()

    for key in (served.test_key, asyncio.run(_key_elsewhere(served))):
        assert ask(served, key, input=[reference(first)]).status_code == 400
        answer = ask(served, key, previous_response_id=first["id"])
        assert (answer.status_code, answer.json()["previous_response_id"]) == (200, None)


async def _key_elsewhere(served: Served) -> str:
    async with Database.open(served.settings) as database, Keyring(database) as keyring:
        workspace_id = await create(database, NewWorkspace("elsewhere", "pro"), now=int(time.time()))
        return (await keyring.create(workspace_id, "elsewhere", "live")).text


def test_a_replayed_answer_does_not_ask_for_what_it_referred_to(serve: Serve) -> None:
    served = serve(ScriptedModel())
    first = ask(served).json()
    body: dict[str, Any] = {"input": [reference(first), {"role": "user", "content": "Who am I?"}]}
    answer = ask(served, once="one", **body)
    asyncio.run(_forget_responses(served))

    again = ask(served, once="one", **body)

    assert (answer.status_code, again.content) == (200, answer.content)
    assert ask(served, **body).status_code == 400


async def _forget_responses(served: Served) -> None:
    async with Database.open(served.settings) as database:
        assert await database.execute("DELETE FROM kept_answers WHERE purpose = 'responses'")


def test_a_store_that_cannot_be_written_costs_no_answer(serve: Serve) -> None:
    served = serve(ScriptedModel())
    asyncio.run(
        _execute(
            served,
            "CREATE TRIGGER no_more BEFORE INSERT ON kept_answers BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
    )

    answer = ask(served, stream=True)
    whole = ask(served)

    assert '"store":false' in answer.text.rpartition("response.completed")[2]
    assert (whole.status_code, whole.json()["store"]) == (200, False)


async def _execute(served: Served, statement: str) -> None:
    async with Database.open(served.settings) as database:
        await database.execute(statement)


def test_the_words_of_a_kept_response_are_not_in_the_database(serve: Serve) -> None:
    served = serve(ScriptedModel(["unmistakable ", "answer"]))
    ask(served, input="an unmistakable question")

    assert asyncio.run(_count(served)) == 1
    for file in served.settings.data_dir.glob("mavera.db*"):
        assert b"unmistakable" not in file.read_bytes()


async def _count(served: Served) -> int:
    async with Database.open(served.settings) as database:
        return len(await database.fetch_all("SELECT digest FROM kept_answers"))


def test_a_conversation_too_large_to_keep_leaves_the_output_to_refer_to(serve: Serve) -> None:
    served = serve(ScriptedModel())
    words = "word " * 900_000
    output = {"type": "function_call_output", "call_id": "c", "output": words}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}

    first = ask(served, input=[call, output, {"role": "user", "content": "My name is Ada."}]).json()

    assert first["store"] is False
    assert ask(served, previous_response_id=first["id"]).json()["previous_response_id"] is None
    assert ask(served, input=[reference(first), {"role": "user", "content": "Hm?"}]).status_code == 200


def test_a_compaction_reads_what_it_refers_to(serve: Serve) -> None:
    served = serve(model := ScriptedModel())
    first = ask(served).json()
    body = {
        "model": "mavera-1",
        "input": [{"role": "user", "content": "Hm?"}],
        "previous_response_id": first["id"],
    }

    answer = httpx.post(f"{served.base_url}/responses/compact", json=body, headers=served.headers)

    assert answer.status_code == 200
    assert read_texts(model)[:3] == [*SAID[:2], "Hm?"]
