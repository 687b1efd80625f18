"""With 1,000,000 rows in each table on Postgres, no list reads more of a table than it shows."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mavera.accounts import audit, requests, workspaces
from mavera.accounts.keys import repository as keys
from mavera.accounts.principal import Principal
from mavera.accounts.sessions import repository as sessions
from mavera.api.responses.history import RESPONSES
from mavera.core.ids import new_cuid
from mavera.focus_groups import load
from mavera.focus_groups import repository as studies
from mavera.personas import repository as personas
from mavera.personas.repository import PersonaLimits
from mavera.playground import repository as playground
from mavera.storage.engine import parse_url
from mavera.storage.kept import KeptAnswers
from mavera.storage.moment import moment_of
from mavera.storage.sealing import Secrets
from mavera.tools import audit as tool_calls
from tests.support.plans import RecordingDatabase, count_rows_read
from tests.support.tables import make_tables

pytestmark = [pytest.mark.proof, pytest.mark.postgres]

ROWS = 1_000_000
# A search for something rare looks at 5,000 rows of each table, and the next page goes on from there.
MOST_READ = 2 * 5_000 + 100
NOW = int(time.time())
FILLED = {
    "api_keys": """
        INSERT INTO api_keys (id, workspace_id, name, digest, mode, last_four, created_at)
        SELECT 'key_' || n, CASE WHEN n % 10000 = 0 THEN 'w' ELSE 'w' || n % 10000 END, 'key', md5(n::text),
               'live', 'abcd', {now} - n
          FROM generate_series(1, {rows}) AS n
        """,
    "personas": """
        INSERT INTO personas (id, workspace_id, mode, version, name, category, credits_charged, created_at,
                              updated_at)
        SELECT 'p' || n, CASE WHEN n % 10000 = 0 THEN 'w' ELSE 'w' || n % 10000 END, 'live', 1, 'one', 'c', 0,
               {now} - n, {now} - n
          FROM generate_series(1, {rows}) AS n
        """,
    "persona_versions": """
        INSERT INTO persona_versions (persona_id, version, sheet, created_at)
        SELECT 'p' || n, 1, '{{}}', {now} FROM generate_series(1, {rows}) AS n
        """,
    "focus_groups": """
        INSERT INTO focus_groups (id, workspace_id, mode, key_id, name, status, program, study, panel, model,
                                  method, cells_total, price, created_at, started_at, ended_at, settled_at,
                                  lease_until)
        SELECT 'fg_' || md5(n::text), CASE WHEN n % 2 = 0 THEN 'w' ELSE 'other' END, 'live', 'key_1', 'name',
               'COMPLETED', 1, :study, :panel, 'm', :method, 1, 1, {now} - n, {now} - n, {now} - n, {now} - n,
               {never}
          FROM generate_series(1, {rows}) AS n
        """,
    "audit_log": """
        INSERT INTO audit_log (workspace_id, created_at, actor_kind, actor_id, actor_name, action, subject_id,
                               subject_name, details)
        SELECT CASE WHEN n % 2 = 0 THEN 'w' ELSE 'other' END, {now} - {rows} + n, 'key', 'key_1', 'key',
               'api_key.created', 'key_' || n, 'key', '{{}}'
          FROM generate_series(1, {rows}) AS n
        """,
    "ledger": """
        INSERT INTO ledger (workspace_id, kind, reference, credits, key_id, created_at)
        SELECT CASE WHEN n % 2 = 0 THEN 'w' ELSE 'other' END, 'reserve', md5(n::text), -1, 'key_1',
               {now} - {rows} + n
          FROM generate_series(1, {rows}) AS n
        """,
    "usage": """
        INSERT INTO usage (workspace_id, created_at, run_id, key_id, status, input_tokens, output_tokens,
                           credits, milliseconds, rolled)
        SELECT CASE WHEN n % 2 = 0 THEN 'w' ELSE 'other' END, {now} - n * 31, 'run_' || n, 'key_' || n % 50,
               'completed', 10, 20, 1, 300, 1
          FROM generate_series(1, {rows}) AS n
        """,
    "refused_requests": """
        INSERT INTO refused_requests (workspace_id, created_at, request_id, key_id, operation, http_status,
                                      error_code, milliseconds)
        SELECT CASE WHEN n % 2 = 0 THEN 'w' ELSE 'other' END, {now} - n * 31, 'req_' || n, 'key_1', 'chat',
               429, 'rate_limit_exceeded', 1
          FROM generate_series(1, {rows}) AS n
        """,
    "kept_answers": """
        INSERT INTO kept_answers (workspace_id, purpose, digest, stamp, is_claim, written_at, expires_at,
                                  size, sealed)
        SELECT CASE WHEN n % 2 = 0 THEN 'w' ELSE 'other' END, 'responses', md5(n::text), 's', 0, {now},
               {now} + 86400, 3, '\\x00'
          FROM generate_series(1, {rows}) AS n
        """,
    "sessions": """
        INSERT INTO sessions (id, digest, workspace_id, role, method, subject, agent, created_at, used_at,
                              ends_at)
        SELECT 'c' || lpad(n::text, 24, '0'), md5(n::text), CASE WHEN n % 2 = 0 THEN 'w' ELSE 'other' END,
               'member', 'link', '', '', {now}, {now}, {now} + 86400
          FROM generate_series(1, {rows}) AS n
        """,
    "tool_calls": """
        INSERT INTO tool_calls (id, workspace_id, key_id, run_id, tool, provider, status, milliseconds,
                                characters, created_at)
        SELECT 'c' || n, CASE WHEN n % 2 = 0 THEN 'w' ELSE 'other' END, 'key_1', 'run', 'web_search', 'index',
               'completed', 1, 1, {now} - n
          FROM generate_series(1, {rows}) AS n
        """,
    "playground_runs": """
        INSERT INTO playground_runs (id, workspace_id, author, created_at, expires_at, model, format,
                                     personas, answers, status, input_tokens, output_tokens, credits,
                                     has_contents)
        SELECT 'c' || lpad(n::text, 24, '0'), 'w', CASE WHEN n % 2 = 0 THEN 'me' ELSE 'other' END, {now},
               {now} + 86400, 'm', 'chat', '[]', 1, 'completed', 1, 1, 1, 0
          FROM generate_series(1, {rows}) AS n
        """,
}
# All indexes but those of keys, which belong to constraints.
INDEXES = """
    SELECT indexname AS name, indexdef AS definition FROM pg_indexes
     WHERE schemaname = current_schema()
       AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = to_regclass(indexname))
    """
PRINCIPAL = Principal("key_1", "w", "live", "enterprise")
AUTHOR = playground.Author("w", "me")
STUDY = {
    "study": '{"name": "A study", "personas": [], "questions": []}',
    "panel": '{"ids": []}',
    "method": '{"read": "letters", "elicitation": "", "model_digest": "", "record": "m"}',
}
RARE_CHANGE = audit.Search("w", action="none")
REQUESTS_OF_NONE = requests.RequestSearch("w", key_id="none")

Read = Callable[[RecordingDatabase], Awaitable[Any]]
LISTS: dict[str, Read] = {
    "keys": lambda db: keys.list_keys(db, "w"),
    "living keys": lambda db: keys.count_living(db, "w", now=NOW),
    "personas": lambda db: personas.list_versions(db, PRINCIPAL),
    "deletion of a persona": lambda db: personas.delete(db, PRINCIPAL, "p10000", now=NOW),
    "room for personas": lambda db: personas.check_room(db, PRINCIPAL, PersonaLimits()),
    "studies": lambda db: studies.list_page(db, PRINCIPAL, limit=50, before=None),
    "late studies": lambda db: studies.list_page(db, PRINCIPAL, limit=50, before=(NOW - ROWS + 500, "x")),
    "running studies": lambda db: studies.count_running(db, "key_1"),
    "waiting studies": lambda db: load.measure_load(db, moment_of(db, None)),
    "work for a worker": lambda db: load.has_work(db, moment_of(db, None)),
    "studies to charge": studies.list_unsettled,
    "speed of studies": lambda db: load.measure_speed(db, "none"),
    "audit log": lambda db: audit.list_entries(db, audit.Search("w")),
    "something rare in the audit log": lambda db: audit.list_entries(db, RARE_CHANGE),
    "ledger": lambda db: workspaces.list_ledger(db, "w", limit=50),
    "late ledger": lambda db: workspaces.list_ledger(db, "w", limit=50, before=500),
    "requests": lambda db: requests.list_requests(db, requests.RequestSearch("w")),
    "requests of a rare key": lambda db: requests.list_requests(db, REQUESTS_OF_NONE),
    "one request": lambda db: requests.find_request(db, "w", new_cuid()),
    "one stored response": lambda db: read_response(db, "none"),
    "sessions": lambda db: sessions.list_sessions(
        db, "w", only="", before="z", limit=50, idle_since=0, now=NOW
    ),
    "tool calls": lambda db: tool_calls.recent(db, "w", limit=50),
    "playground": lambda db: playground.list_runs(db, AUTHOR, before="", limit=50, now=NOW),
}


async def read_response(db: RecordingDatabase, response_id: str) -> None:
    async with KeptAnswers(db, Secrets(b"s" * 32)) as kept:
        await kept.find("w", RESPONSES, response_id)


async def fill(db: RecordingDatabase) -> None:
    async with db.transaction() as transaction:
        # Checking that each row's workspace exists would take most of the time.
        await transaction.execute("SET LOCAL session_replication_role = replica")
        await transaction.execute("SET LOCAL synchronous_commit TO off")
        await transaction.execute("SET LOCAL maintenance_work_mem TO '256MB'")
        # An index that is built at the end takes a fraction of the time of one that each row extends.
        indexes = await transaction.fetch_all(INDEXES)
        for index in indexes:
            await transaction.execute(f"DROP INDEX {index['name']}")
        for sql in FILLED.values():
            values = STUDY if ":study" in sql else {}
            await transaction.execute(sql.format(now=NOW, rows=ROWS, never=studies.NEVER), **values)
        for index in indexes:
            await transaction.execute(str(index["definition"]))
    await db.execute("ANALYZE")


@pytest.mark.timeout(1800)
def test_no_list_reads_more_of_a_table_than_it_shows(database_url: str) -> None:
    make_tables(database_url)

    async def main() -> None:
        async with RecordingDatabase.at(parse_url(database_url)) as db:
            await fill(db)
            read: dict[str, int] = {}
            for name, lists in LISTS.items():
                db.asked.clear()
                await lists(db)
                assert db.asked, name
                read[name] = sum([await count_rows_read(db, sql, **values) for sql, values in db.asked])
            assert {name: rows for name, rows in read.items() if rows > MOST_READ} == {}
            # The count itself must notice a whole table.
            assert await count_rows_read(db, "SELECT SUM(credits) AS n FROM ledger") == ROWS

    asyncio.run(main())
