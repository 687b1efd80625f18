"""
Make the database's tables step by step: one function for each change, in the order of release.

    MIGRATIONS   0001_workspaces_and_keys → 0002_credits → … → the newest

A step makes only additions that servers of the previous release can ignore, so old and new servers run side
by side during an upgrade: expand first, and contract in a later release. `schema.py` applies the steps and
records each by the name of its function.

The steps up to 0011 are in `early_migrations.py`. SQLite and Postgres both understand the SQL, and `Tables`
writes the three parts that differ. Times are Unix seconds, a month is a number such as 202611, and every
number has 64 bits.
"""

from collections.abc import Callable

from mavera.storage.early_migrations import EARLY_MIGRATIONS
from mavera.storage.tables import Index, Tables


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
    *EARLY_MIGRATIONS,
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
