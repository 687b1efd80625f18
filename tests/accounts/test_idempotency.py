"""A repeated request gets its first answer, and a copy of the database shows neither."""

import asyncio

import pytest

from mavera.accounts.idempotency import FirstResponses
from mavera.models.scripted import ScriptedModel
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.kept import KeptAnswers
from mavera.storage.schema import ensure_schema
from mavera.storage.sealing import Secrets, secret_path
from tests.conftest import Serve
from tests.support.tables import load_released
from tests.support.team import ASK, Team, serve_on, team

QUESTION, ANSWER, NAME = "QUESTIONMARK", "ANSWERMARK", "NAMEMARK"
BODY = {**ASK, "input": QUESTION}


def ask(t: Team) -> tuple[bytes, bool]:
    answer = t.post(body=BODY, **{"Idempotency-Key": NAME})
    assert answer.status_code == 200
    return answer.content, "idempotent-replayed" in answer.headers


async def stored(settings: Settings) -> bytes:
    """Return every byte of an SQLite database's files, or every value that Postgres has."""
    if not settings.database_url.startswith("postgres"):
        return b"".join(path.read_bytes() for path in sorted(settings.data_dir.glob("mavera.db*")))
    async with Database.open(settings) as database:
        tables = await database.fetch_all("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = [
            row for table in tables for row in await database.fetch_all(f"SELECT * FROM {table['tablename']}")
        ]
    values = [value for row in rows for value in row.values()]
    return b" ".join(value if isinstance(value, bytes) else str(value).encode() for value in values)


@pytest.mark.parametrize("pepper", ["", "a pepper"])
def test_a_stolen_database_shows_neither_question_nor_answer(
    serve: Serve, database_url: str, pepper: str
) -> None:
    served = serve_on(serve, database_url, ScriptedModel([ANSWER]), key_pepper=pepper)
    t = team(served)
    first, again = ask(t), ask(t)
    assert ANSWER.encode() in first[0]
    assert again == (first[0], True)
    taken = asyncio.run(stored(served.settings))
    assert t.workspace_id.encode() in taken
    assert [mark for mark in (QUESTION, ANSWER, NAME) if mark.encode() in taken] == []
    secret = secret_path(served.settings)
    assert secret.exists() is not bool(pepper)
    assert pepper or secret.read_bytes() not in taken


def test_an_answer_outlives_a_restart_and_a_rotation_but_not_its_secret(
    serve: Serve, database_url: str
) -> None:
    t = team(serve_on(serve, database_url, ScriptedModel([ANSWER])))
    first, _ = ask(t)
    for settings in ({}, {"key_pepper": "one"}, {"key_pepper": "two", "key_pepper_previous": "one"}):
        served = serve_on(serve, database_url, ScriptedModel([ANSWER]), **settings)
        assert ask(Team(served, t.workspace_id, t.key, t.key_id)) == (first, True)
    secret_path(t.served.settings).unlink()
    served = serve_on(serve, database_url, ScriptedModel([ANSWER]), key_pepper="two")
    assert ask(Team(served, t.workspace_id, t.key, t.key_id))[1] is False


def test_two_keys_of_one_workspace_have_names_of_their_own(serve: Serve) -> None:
    served = serve(ScriptedModel([ANSWER]))
    t = team(served)
    other = Team(served, t.workspace_id, served.key, "first")
    assert [ask(t)[1], ask(other)[1], ask(t)[1]] == [False, False, True]


def test_answers_that_earlier_releases_kept_in_clear_are_erased_at_the_start(
    settings: Settings, database_url: str, engine: str
) -> None:
    load_released(database_url, engine)

    async def main() -> None:
        async with Database.open(settings) as database:
            await database.execute(
                """
                INSERT INTO idempotency (key_id, name, request_digest, expires_at, content_type, body)
                VALUES ('k', 'done', 'd', 9999999999, 'text/plain', :body),
                       ('k', 'running', 'd', 1, NULL, NULL)
                """,
                body=ANSWER * 5_000,
            )
            await ensure_schema(database)
        assert ANSWER.encode() in await stored(settings)
        async with Database.open(settings) as database:
            answers = FirstResponses(database, KeptAnswers(database, Secrets(b"secret")))
            async with answers:
                rows = await database.fetch_all("SELECT name FROM idempotency")
                assert [row["name"] for row in rows] == ["running"], "an older server may be running it"
                assert ANSWER.encode() not in await stored(settings)
                await answers.renew()
                assert await database.fetch_all("SELECT name FROM idempotency") == []

    asyncio.run(main())
