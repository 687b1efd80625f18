"""
Make the database's tables step by step: one function for each change, in the order of release.

    MIGRATIONS   0001_workspaces_and_keys → 0002_credits → … → the newest

A step makes only additions that servers of the previous release can ignore, so old and new servers run side
by side during an upgrade: expand first, and contract in a later release. `schema.py` applies the steps and
records each by the name of its function.

SQLite and Postgres both understand the SQL here, and `Tables` writes the three parts that differ. Times are
Unix seconds, a month is a number such as 202611, and every number has 64 bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mavera.storage.pool import Statements

Dialect = Literal["sqlite", "postgresql"]


@dataclass(frozen=True, slots=True)
class Index:
    """An index of a table that may be large. `on` is the table with the columns, and the condition if any."""

    name: str
    on: str


class Tables:
    """Statements that change tables, on one of the two databases."""

    def __init__(self, statements: Statements, dialect: Dialect) -> None:
        self._statements = statements
        # SQLite numbers rows of INTEGER keys by itself.
        self.numbered_key = "INTEGER NOT NULL PRIMARY KEY" if dialect == "sqlite" else "BIGSERIAL PRIMARY KEY"
        # Without it, SQLite keeps a second tree if the primary key is not a number.
        self.by_key = "WITHOUT ROWID" if dialect == "sqlite" else ""
        self.bytes = "BLOB" if dialect == "sqlite" else "BYTEA"

    def run(self, sql: str) -> None:
        self._statements.execute(sql, {})

    def add_columns(self, table: str, **columns: str) -> None:
        """Add `columns`, each a name with its type and default, to a table that has rows already."""
        for name, definition in columns.items():
            self.run(f"ALTER TABLE {table} ADD COLUMN {name} {definition}")

    def add_indexes(self, *indexes: Index) -> None:
        """Add indexes. On Postgres, `large_indexes.py` may have built them before, beside running servers."""
        for index in indexes:
            self.run(f"CREATE INDEX IF NOT EXISTS {index.name} ON {index.on}")


def m0001_workspaces_and_keys(tables: Tables) -> None:
    """
    Workspaces, their API keys, and the milestones that a database reaches once.

    The text of a key is not stored, only its SHA-256 in hex.
    """
    tables.run(
        """
        CREATE TABLE workspaces (
            id TEXT NOT NULL PRIMARY KEY,
            name TEXT NOT NULL,
            plan TEXT NOT NULL,
            created_at BIGINT NOT NULL
        )
        """
    )
    tables.run(
        """
        CREATE TABLE api_keys (
            id TEXT NOT NULL PRIMARY KEY,
            workspace_id TEXT NOT NULL REFERENCES workspaces (id),
            name TEXT NOT NULL,
            digest TEXT NOT NULL UNIQUE,
            mode TEXT NOT NULL,
            last_four TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            revoked_at BIGINT,
            expires_at BIGINT,
            last_used_at BIGINT
        )
        """
    )
    tables.run("CREATE INDEX api_keys_by_workspace ON api_keys (workspace_id, created_at)")
    tables.run("CREATE TABLE milestones (name TEXT NOT NULL PRIMARY KEY, reached_at BIGINT NOT NULL)")


def m0002_credits(tables: Tables) -> None:
    """
    Plans and credits: the limits of a workspace, its balance, and its use of credits.

        ledger        every change of a balance; rows never change, and their sum is the balance
        reservations  credits held for runs in flight, until they end or their lease runs out
        usage         one row for each run that was admitted
        alerts        budgets that are nearly spent
        idempotency   first responses, for callers who repeat a request

    Each run writes three of these tables, so they have few indexes and no foreign keys.
    """
    _add_plans(tables)
    _make_ledger(tables)
    _make_records(tables)


def _add_plans(tables: Tables) -> None:
    for name in ("requests_per_minute", "requests_per_day", "concurrent_runs", "monthly_credits", "budget"):
        tables.add_columns("workspaces", **{name: "BIGINT"})
    for name in ("unlimited", "balance", "granted_month", "spent", "spent_month", "alerted_percent"):
        tables.add_columns("workspaces", **{name: "BIGINT NOT NULL DEFAULT 0"})
    tables.run("UPDATE workspaces SET unlimited = 1 WHERE plan = 'enterprise'")
    tables.add_columns(
        "api_keys",
        budget="BIGINT",
        spent="BIGINT NOT NULL DEFAULT 0",
        spent_month="BIGINT NOT NULL DEFAULT 0",
        alerted_percent="BIGINT NOT NULL DEFAULT 0",
        scopes="TEXT NOT NULL DEFAULT 'responses personas:read personas:write focus_groups usage:read'",
    )


def _make_ledger(tables: Tables) -> None:
    tables.run(
        f"""
        CREATE TABLE ledger (
            id {tables.numbered_key},
            workspace_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            reference TEXT NOT NULL,
            credits BIGINT NOT NULL,
            key_id TEXT,
            note TEXT,
            created_at BIGINT NOT NULL
        )
        """
    )
    tables.run("CREATE UNIQUE INDEX ledger_once ON ledger (reference, kind)")
    tables.run(
        f"""
        CREATE TABLE reservations (
            run_id TEXT NOT NULL PRIMARY KEY,
            workspace_id TEXT NOT NULL,
            key_id TEXT NOT NULL,
            credits BIGINT NOT NULL,
            month BIGINT NOT NULL,
            expires_at BIGINT NOT NULL
        ) {tables.by_key}
        """
    )


def _make_records(tables: Tables) -> None:
    tables.run(
        f"""
        CREATE TABLE usage (
            workspace_id TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            run_id TEXT NOT NULL,
            key_id TEXT NOT NULL,
            persona_id TEXT,
            status TEXT NOT NULL,
            input_tokens BIGINT NOT NULL,
            output_tokens BIGINT NOT NULL,
            credits BIGINT NOT NULL,
            milliseconds BIGINT NOT NULL,
            PRIMARY KEY (workspace_id, created_at, run_id)
        ) {tables.by_key}
        """
    )
    tables.run(
        """
        CREATE TABLE alerts (
            subject_id TEXT NOT NULL,
            month BIGINT NOT NULL,
            percent BIGINT NOT NULL,
            workspace_id TEXT NOT NULL,
            budget BIGINT NOT NULL,
            spent BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            PRIMARY KEY (subject_id, month, percent)
        )
        """
    )
    tables.run(
        """
        CREATE TABLE idempotency (
            key_id TEXT NOT NULL,
            name TEXT NOT NULL,
            request_digest TEXT NOT NULL,
            expires_at BIGINT NOT NULL,
            content_type TEXT,
            body TEXT,
            PRIMARY KEY (key_id, name)
        )
        """
    )


def m0003_personas(tables: Tables) -> None:
    """
    Custom personas: one row for each persona, and one for each version of its description.

    `mode` separates the personas of test keys, which cost nothing, from those of live keys. When a persona
    is deleted, its versions are deleted at once. Its row stays for a while, so that a cursor which names it
    keeps its place. `usage` records the version that answered and, if several personas answered, all of them.
    """
    tables.run(
        """
        CREATE TABLE personas (
            id TEXT NOT NULL PRIMARY KEY,
            workspace_id TEXT NOT NULL,
            mode TEXT NOT NULL,
            version BIGINT NOT NULL,
            name TEXT NOT NULL,
            category TEXT NOT NULL,
            credits_charged BIGINT NOT NULL,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            deleted_at BIGINT
        )
        """
    )
    tables.run("CREATE INDEX personas_by_workspace ON personas (workspace_id, mode)")
    tables.run(
        """
        CREATE TABLE persona_versions (
            persona_id TEXT NOT NULL,
            version BIGINT NOT NULL,
            sheet TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            PRIMARY KEY (persona_id, version)
        )
        """
    )
    tables.add_columns("usage", persona_version="BIGINT", personas="TEXT")


def m0004_tools(tables: Tables) -> None:
    """
    Server tools: the permissions of workspaces, the calls, and the media.

        workspaces.tools   the names of tools that a workspace may use, separated by spaces; null for all
        tool_calls         one row for each call
        media              images and videos that tools made, and the jobs that make them
    """
    tables.add_columns("workspaces", tools="TEXT")
    tables.run(
        """
        CREATE TABLE tool_calls (
            id TEXT NOT NULL PRIMARY KEY,
            workspace_id TEXT NOT NULL,
            key_id TEXT NOT NULL,
            run_id TEXT NOT NULL,
            tool TEXT NOT NULL,
            provider TEXT NOT NULL,
            status TEXT NOT NULL,
            milliseconds BIGINT NOT NULL,
            characters BIGINT NOT NULL,
            created_at BIGINT NOT NULL
        )
        """
    )
    tables.run("CREATE INDEX tool_calls_newest ON tool_calls (workspace_id, created_at)")
    tables.run(
        """
        CREATE TABLE media (
            id TEXT NOT NULL PRIMARY KEY,
            workspace_id TEXT NOT NULL,
            tool TEXT NOT NULL,
            status TEXT NOT NULL,
            progress BIGINT NOT NULL,
            provider_id TEXT,
            content_type TEXT,
            bytes BIGINT,
            error TEXT,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            completed_at BIGINT
        )
        """
    )
    tables.run("CREATE INDEX media_unfinished ON media (status, updated_at)")


def m0005_key_ancestors(tables: Tables) -> None:
    """
    The keys above a key, by id and separated by spaces: the operator's own first, the maker last.

    The spending of a key also counts against the budget of each of them.
    """
    tables.add_columns("api_keys", ancestors="TEXT NOT NULL DEFAULT ''")


def m0006_owners(tables: Tables) -> None:
    """
    Owners of reservations, and the versions of servers that may still use the database.

        reservations.owner_kind   run, and later study and block; the last two outlive every process
        reservations.owner_id     the id of the run, the study or the block
        reservations.process_id   the process that renews the lease; null if no lease is renewed
        reservations.created_at   null in the rows of servers that do not know the column
        schema_state              one row: the oldest migration whose servers may still run on these
                                  tables, the release that brought it, and when a server last tried
                                  to write (GET /health/ready)
    """
    tables.add_columns(
        "reservations",
        created_at="BIGINT",
        owner_kind="TEXT NOT NULL DEFAULT 'run'",
        owner_id="TEXT",
        process_id="TEXT",
    )
    tables.run(
        """
        CREATE TABLE schema_state (
            id BIGINT NOT NULL PRIMARY KEY,
            lowest_schema TEXT NOT NULL,
            lowest_version TEXT NOT NULL,
            probed_at BIGINT NOT NULL DEFAULT 0
        )
        """
    )
    tables.run(
        "INSERT INTO schema_state (id, lowest_schema, lowest_version) VALUES (1, '0004_tools', '0.1.0')"
    )


def m0007_kept_answers(tables: Tables) -> None:
    """
    Kept answers, encrypted, for any purpose: see `storage/kept.py`.

        digest     a keyed digest of the key under which the answer is kept
        stamp      a new one with each write, so that a late writer does not change a newer row
        is_claim   1 while the answer is still being made
        sealed     the encrypted answer; last, so that SQLite reads the other columns without it

    The table replaces `idempotency`, whose answers are in clear. That one stays for servers of the previous
    release.
    """
    tables.run(
        f"""
        CREATE TABLE kept_answers (
            workspace_id TEXT NOT NULL,
            purpose TEXT NOT NULL,
            digest TEXT NOT NULL,
            stamp TEXT NOT NULL,
            is_claim BIGINT NOT NULL,
            written_at BIGINT NOT NULL,
            expires_at BIGINT NOT NULL,
            size BIGINT NOT NULL,
            sealed {tables.bytes} NOT NULL,
            PRIMARY KEY (workspace_id, purpose, digest)
        )
        """
    )
    tables.run("CREATE INDEX kept_answers_by_expiry ON kept_answers (expires_at)")


def m0008_usage_groups(tables: Tables) -> None:
    """
    Columns by which pages group usage, and by which erasure finds a person's rows. Null in older rows.

        operation         responses, chat_completions, compaction or personas
        model             the model that answered; null if none was needed
        upstream_nanos    the price that its server charged, in billionths of its currency, if known
        end_user_digest   a keyed digest of the caller's `safety_identifier` or `user`
    """
    tables.add_columns(
        "usage", operation="TEXT", model="TEXT", upstream_nanos="BIGINT", end_user_digest="TEXT"
    )


def m0009_usage_currency(tables: Tables) -> None:
    """`upstream_currency` is the currency of `upstream_nanos`, as ISO 4217 has it."""
    tables.add_columns("usage", upstream_currency="TEXT")


def m0010_focus_groups(tables: Tables) -> None:
    """
    Focus groups: a row for each study, one for each of its cells, and the position priors of models.

        focus_groups.study        the checked study, as JSON
        focus_groups.panel        the personas as they were at the start, as JSON
        focus_groups.fence        grows with each worker that takes the study; writes that name an old one
                                  change nothing
        focus_groups.lease_until  when another worker may take the study
        focus_groups.human        answers of real people, as JSON
        focus_group_cells.body    the raw reading, as JSON; null until the model has answered
    """
    tables.run(
        """
        CREATE TABLE focus_groups (
            id TEXT NOT NULL PRIMARY KEY,
            workspace_id TEXT NOT NULL,
            mode TEXT NOT NULL,
            key_id TEXT NOT NULL,
            name TEXT NOT NULL,
            status TEXT NOT NULL,
            program BIGINT NOT NULL,
            study TEXT NOT NULL,
            panel TEXT NOT NULL,
            model TEXT NOT NULL,
            method TEXT NOT NULL,
            source_id TEXT,
            webhook TEXT,
            human TEXT,
            notices TEXT NOT NULL DEFAULT '[]',
            error TEXT,
            limit_reached TEXT,
            cells_total BIGINT NOT NULL,
            cells_reused BIGINT NOT NULL DEFAULT 0,
            price BIGINT NOT NULL,
            credits_charged BIGINT NOT NULL DEFAULT 0,
            credits_due BIGINT NOT NULL DEFAULT 0,
            hold_id TEXT,
            attempt BIGINT NOT NULL DEFAULT 1,
            adoptions BIGINT NOT NULL DEFAULT 0,
            worker_id TEXT,
            fence BIGINT NOT NULL DEFAULT 0,
            lease_until BIGINT NOT NULL DEFAULT 0,
            created_at BIGINT NOT NULL,
            started_at BIGINT,
            ended_at BIGINT,
            cancelled_at BIGINT,
            settled_at BIGINT
        )
        """
    )
    tables.run("CREATE INDEX focus_groups_newest ON focus_groups (workspace_id, mode, created_at, id)")
    tables.run("CREATE INDEX focus_groups_unfinished ON focus_groups (status, lease_until)")
    _make_cells_of_focus_groups(tables)


def _make_cells_of_focus_groups(tables: Tables) -> None:
    tables.run(
        """
        CREATE TABLE focus_group_cells (
            study_id TEXT NOT NULL,
            key TEXT NOT NULL,
            place BIGINT NOT NULL,
            status TEXT NOT NULL,
            body TEXT,
            error TEXT,
            reused BIGINT NOT NULL DEFAULT 0,
            answered_at BIGINT,
            PRIMARY KEY (study_id, key)
        )
        """
    )
    tables.run(
        """
        CREATE TABLE focus_group_priors (
            model TEXT NOT NULL,
            language TEXT NOT NULL,
            places BIGINT NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (model, language, places)
        )
        """
    )


def m0011_key_versions(tables: Tables) -> None:
    """
    Edits of API keys, and a second secret of a key while it is rotated.

        version              grows with each edit; an edit of an older version is refused
        previous_digest      the digest of the secret before the last rotation
        previous_last_four   the end of that secret
        previous_until       when that secret stops working; null if there is none
    """
    tables.add_columns(
        "api_keys",
        version="BIGINT NOT NULL DEFAULT 1",
        previous_digest="TEXT",
        previous_last_four="TEXT",
        previous_until="BIGINT",
    )
    tables.run("CREATE UNIQUE INDEX api_keys_by_previous ON api_keys (previous_digest)")


def m0012_console(tables: Tables) -> None:
    """
    The sessions of the console, and the links that make one: one-time links and invitations.

    The tables have digests of the secrets in cookies and links. `sent_forms` has the ids of forms that must
    not take effect twice. `facts` has single values about a database, such as its own name.
    """
    tables.run(
        """
        CREATE TABLE sessions (
            id TEXT NOT NULL PRIMARY KEY,
            digest TEXT NOT NULL UNIQUE,
            workspace_id TEXT NOT NULL,
            role TEXT NOT NULL,
            method TEXT NOT NULL,
            subject TEXT NOT NULL,
            key_id TEXT,
            agent TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            used_at BIGINT NOT NULL,
            ends_at BIGINT NOT NULL,
            revoked_at BIGINT
        )
        """
    )
    tables.run("CREATE INDEX sessions_newest ON sessions (workspace_id, id)")
    tables.run("CREATE INDEX sessions_ended ON sessions (ends_at)")
    tables.run(
        """
        CREATE TABLE sign_in_links (
            id TEXT NOT NULL PRIMARY KEY,
            digest TEXT NOT NULL UNIQUE,
            method TEXT NOT NULL,
            workspace_id TEXT NOT NULL,
            role TEXT NOT NULL,
            subject TEXT NOT NULL,
            invited_by TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            expires_at BIGINT NOT NULL,
            redeemed_at BIGINT
        )
        """
    )
    tables.run("CREATE INDEX sign_in_links_newest ON sign_in_links (workspace_id, id)")
    tables.run("CREATE INDEX sign_in_links_ended ON sign_in_links (expires_at)")
    tables.run("CREATE TABLE sent_forms (id TEXT NOT NULL PRIMARY KEY, sent_at BIGINT NOT NULL)")
    tables.run("CREATE INDEX sent_forms_old ON sent_forms (sent_at)")
    tables.run("CREATE TABLE facts (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)")


def m0013_study_shares(tables: Tables) -> None:
    """Links that show one study to whoever has them. `digest` is the SHA-256 of the link's secret."""
    tables.run(
        """
        CREATE TABLE focus_group_shares (
            id TEXT NOT NULL PRIMARY KEY,
            study_id TEXT NOT NULL,
            digest TEXT NOT NULL UNIQUE,
            created_at BIGINT NOT NULL,
            expires_at BIGINT NOT NULL
        )
        """
    )
    tables.run("CREATE INDEX focus_group_shares_by_study ON focus_group_shares (study_id, id)")


def m0014_playground(tables: Tables) -> None:
    """Each person's runs in the playground of the console. What was said is in `kept_answers`, encrypted."""
    tables.run(
        """
        CREATE TABLE playground_runs (
            id TEXT NOT NULL PRIMARY KEY,
            workspace_id TEXT NOT NULL,
            author TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            expires_at BIGINT NOT NULL,
            model TEXT NOT NULL,
            format TEXT NOT NULL,
            personas TEXT NOT NULL,
            answers BIGINT NOT NULL,
            status TEXT NOT NULL,
            input_tokens BIGINT NOT NULL,
            output_tokens BIGINT NOT NULL,
            credits BIGINT NOT NULL,
            has_contents BIGINT NOT NULL
        )
        """
    )
    tables.run("CREATE INDEX playground_runs_newest ON playground_runs (workspace_id, author, id)")
    tables.run("CREATE INDEX playground_runs_expired ON playground_runs (expires_at)")


def m0015_database_copies(tables: Tables) -> None:
    """
    One row if the database is the source or the target of a copy: see `storage/moving/`.

        fingerprint   names the source as it was when it was closed
        table_name    the table that is being copied, and `after` its last key, as JSON
        ended_at      null until the copy was compared with its source
    """
    tables.run(
        """
        CREATE TABLE database_copies (
            id BIGINT NOT NULL PRIMARY KEY,
            role TEXT NOT NULL,
            fingerprint TEXT NOT NULL,
            table_name TEXT,
            after TEXT,
            began_at BIGINT NOT NULL,
            ended_at BIGINT
        )
        """
    )


def m0016_audit_log(tables: Tables) -> None:
    """
    The audit log (`accounts/audit.py`): one row for each change of a setting, a right or a thing.

    A row with an empty `workspace_id` belongs to the operator's log, which outlives every workspace.
    """
    tables.run(
        f"""
        CREATE TABLE audit_log (
            id {tables.numbered_key},
            workspace_id TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            actor_kind TEXT NOT NULL,
            actor_id TEXT NOT NULL,
            actor_name TEXT NOT NULL,
            action TEXT NOT NULL,
            subject_id TEXT NOT NULL,
            subject_name TEXT NOT NULL,
            details TEXT NOT NULL
        )
        """
    )
    tables.run("CREATE INDEX audit_log_newest ON audit_log (workspace_id, id)")


def m0017_many_machines(tables: Tables) -> None:
    """
    The living processes, the slots of concurrent runs, and the blocks of credits.

        processes             one row for each process, renewed while it lives; `state` is a JSON object of
                              digests of what has to be the same on all machines
        run_slots             one row for each run of a workspace whose plan caps them; an id, never a count
        reservations.recall   of a block of credits: 0 in use, 1 another process asks for it back, 2 given
                              back except for what runs hold
    """
    tables.run(
        """
        CREATE TABLE processes (
            id TEXT NOT NULL PRIMARY KEY,
            host TEXT NOT NULL,
            role TEXT NOT NULL,
            version TEXT NOT NULL,
            connections BIGINT NOT NULL,
            state TEXT NOT NULL,
            started_at BIGINT NOT NULL,
            expires_at BIGINT NOT NULL
        )
        """
    )
    tables.run(
        """
        CREATE TABLE run_slots (
            slot_id TEXT NOT NULL PRIMARY KEY,
            workspace_id TEXT NOT NULL,
            process_id TEXT NOT NULL,
            expires_at BIGINT NOT NULL
        )
        """
    )
    tables.run("CREATE INDEX run_slots_by_workspace ON run_slots (workspace_id, expires_at)")
    tables.add_columns("reservations", recall="BIGINT NOT NULL DEFAULT 0")


def m0018_usage_days(tables: Tables) -> None:
    """
    Usage by day (`accounts/credits/days.py`), and what the request log needs.

        usage_days                  the sums of each day, in all and of each key, persona, operation, model
        usage.rolled                1 if the row is in `usage_days`; rows of earlier releases follow later
        usage.request_id            the id of the HTTP request, null for others
        usage.error_code            the code of the error of a failed run
        workspaces.reporting_zone   the time zone of the days of usage
        refused_requests            requests with a key that failed before a run began
    """
    tables.add_columns("workspaces", reporting_zone="TEXT NOT NULL DEFAULT 'UTC'")
    tables.add_columns("usage", rolled="BIGINT NOT NULL DEFAULT 0", request_id="TEXT", error_code="TEXT")
    tables.run("CREATE INDEX usage_not_rolled ON usage (rolled) WHERE rolled = 0")
    tables.run(
        f"""
        CREATE TABLE usage_days (
            workspace_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            day BIGINT NOT NULL,
            value TEXT NOT NULL,
            zone TEXT NOT NULL,
            currency TEXT NOT NULL,
            requests BIGINT NOT NULL,
            errors BIGINT NOT NULL,
            input_tokens BIGINT NOT NULL,
            output_tokens BIGINT NOT NULL,
            credits BIGINT NOT NULL,
            milliseconds BIGINT NOT NULL,
            upstream_nanos BIGINT NOT NULL,
            PRIMARY KEY (workspace_id, kind, day, value, zone, currency)
        ) {tables.by_key}
        """
    )
    tables.run(
        f"""
        CREATE TABLE refused_requests (
            workspace_id TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            request_id TEXT NOT NULL,
            key_id TEXT NOT NULL,
            operation TEXT NOT NULL,
            http_status BIGINT NOT NULL,
            error_code TEXT NOT NULL,
            milliseconds BIGINT NOT NULL,
            PRIMARY KEY (workspace_id, created_at, request_id)
        ) {tables.by_key}
        """
    )


def m0019_findings(tables: Tables) -> None:
    """
    Alerts for the operator, a row for each subject: see `alerts/findings.py`.

        occurrence    grows when the subject is found again after a quiet time
        seen_at       when any replica last found it
        lease_until   when a replica may take it to send it
    """
    tables.run(
        """
        CREATE TABLE findings (
            subject TEXT NOT NULL PRIMARY KEY,
            occurrence BIGINT NOT NULL,
            kind TEXT NOT NULL,
            text TEXT NOT NULL,
            data TEXT NOT NULL,
            state TEXT NOT NULL,
            tries BIGINT NOT NULL,
            found_at BIGINT NOT NULL,
            seen_at BIGINT NOT NULL,
            lease_until BIGINT NOT NULL
        )
        """
    )
    tables.run("CREATE INDEX findings_due ON findings (state, lease_until)")


def m0020_account_lists(tables: Tables) -> None:
    """Indexes by which the ledger and the alerts of one workspace are listed."""
    tables.run("CREATE INDEX ledger_by_workspace ON ledger (workspace_id, id)")
    tables.run("CREATE INDEX alerts_by_workspace ON alerts (workspace_id, month)")


def m0021_retention(tables: Tables) -> None:
    """
    How long a workspace keeps what, in days by kind (`accounts/data/retention.py`), and deleted workspaces.

    `workspaces.deleted_at` is set when a workspace is deleted. Its rows are removed in the background, its
    own row last.
    """
    tables.run(
        f"""
        CREATE TABLE retention (
            workspace_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            days BIGINT NOT NULL,
            PRIMARY KEY (workspace_id, kind)
        ) {tables.by_key}
        """
    )
    tables.add_columns("workspaces", deleted_at="BIGINT")


def m0022_study_images(tables: Tables) -> None:
    """The images of studies (`focus_groups/images.py`). `digest` is the SHA-256 of an image's URL."""
    tables.run(
        f"""
        CREATE TABLE focus_group_images (
            study_id TEXT NOT NULL,
            digest TEXT NOT NULL,
            kind TEXT NOT NULL,
            data {tables.bytes} NOT NULL,
            PRIMARY KEY (study_id, digest)
        ) {tables.by_key}
        """
    )


def m0023_owed_webhooks(tables: Tables) -> None:
    """
    The calls of webhooks that studies owe (`focus_groups/webhooks.py`). `webhook_due_at` is NULL if none is.

    `done_at_take` is the number of cells that had ended when a worker last took the study.
    """
    tables.add_columns(
        "focus_groups",
        webhook_due_at="BIGINT",
        webhook_tries="BIGINT NOT NULL DEFAULT 0",
        done_at_take="BIGINT NOT NULL DEFAULT 0",
    )
    tables.run(
        """
        CREATE INDEX focus_groups_by_webhook ON focus_groups (webhook_due_at)
         WHERE webhook_due_at IS NOT NULL
        """
    )


INDEXES_OF_OLD_ROWS = (
    Index("focus_groups_measured", "focus_groups (created_at) WHERE started_at IS NOT NULL"),
    Index("personas_gone", "personas (deleted_at) WHERE deleted_at IS NOT NULL"),
)


def m0024_indexes_of_old_rows(tables: Tables) -> None:
    """Indexes that find the latest studies that have begun, and the personas that were deleted long ago."""
    tables.add_indexes(*INDEXES_OF_OLD_ROWS)


MIGRATIONS: tuple[Callable[[Tables], None], ...] = (
    m0001_workspaces_and_keys,
    m0002_credits,
    m0003_personas,
    m0004_tools,
    m0005_key_ancestors,
    m0006_owners,
    m0007_kept_answers,
    m0008_usage_groups,
    m0009_usage_currency,
    m0010_focus_groups,
    m0011_key_versions,
    m0012_console,
    m0013_study_shares,
    m0014_playground,
    m0015_database_copies,
    m0016_audit_log,
    m0017_many_machines,
    m0018_usage_days,
    m0019_findings,
    m0020_account_lists,
    m0021_retention,
    m0022_study_images,
    m0023_owed_webhooks,
    m0024_indexes_of_old_rows,
)
LARGE_INDEXES: dict[Callable[[Tables], None], tuple[Index, ...]] = {
    m0024_indexes_of_old_rows: INDEXES_OF_OLD_ROWS,
}
"""The migrations whose indexes are built before them, because that may take minutes."""


def name_of(migration: Callable[[Tables], None]) -> str:
    """Return the name under which a migration is recorded, such as `0002_credits`."""
    return migration.__name__.removeprefix("m")
