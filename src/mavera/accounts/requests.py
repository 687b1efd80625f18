"""
The request log of a workspace: find a call by its id, its key or its status.

    a run that was admitted    its row of `usage`, which names the request, its error, tokens and price
    a request that was not     a row of `refused_requests`: a bad body, no credit, too many requests

Neither has contents. Requests without a valid key belong to no workspace, and are in no log but the server's.
"""

import time
from dataclasses import dataclass
from typing import Self

from mavera.accounts.principal import Principal
from mavera.core.ids import id_beside, is_cuid, owner_of, time_of
from mavera.storage.database import Database, Queries, Row
from mavera.storage.late_rows import LateRows

# A client in a loop must not fill the log. Further refusals of a key in a minute are only counted in metrics.
MOST_A_MINUTE = 60
# A page of a search looks at no more calls than this. The next page goes on where it stopped.
MOST_SEARCHED = 5_000
STATUSES = ("completed", "cancelled", "failed", "refused")
_DAY_SECONDS = 86_400
_LAST_ID = "~"


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """A request with a key that failed before a run began. `operation` is the template of its path."""

    principal: Principal
    request_id: str
    operation: str
    http_status: int
    error_code: str
    milliseconds: int


class Refusals:
    """Writes refused requests a moment later, together. The end of the block writes the rest."""

    def __init__(self, database: Database) -> None:
        self._rows = LateRows(database, _INSERT, "refused requests")
        self._minute = 0
        self._counts: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._rows.__aexit__()

    def note(self, refused: RefusedRequest) -> None:
        now = int(time.time())
        if now // 60 != self._minute:
            self._minute, self._counts = now // 60, {}
        key_id = refused.principal.key_id
        self._counts[key_id] = self._counts.get(key_id, 0) + 1
        if self._counts[key_id] > MOST_A_MINUTE or self._rows.is_full:
            return
        self._rows.add(
            {
                "workspace_id": refused.principal.workspace_id,
                "created_at": now,
                "request_id": refused.request_id,
                "key_id": key_id,
                "operation": refused.operation,
                "http_status": refused.http_status,
                "error_code": refused.error_code,
                "milliseconds": refused.milliseconds,
            }
        )


_INSERT = """
    INSERT INTO refused_requests
           (workspace_id, created_at, request_id, key_id, operation, http_status, error_code, milliseconds)
    VALUES (:workspace_id, :created_at, :request_id, :key_id, :operation, :http_status, :error_code,
            :milliseconds)
    ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """
    A call. `id` is its place in the log: that of the run, or of a refused request.

    `request_id` is the `x-request-id` of its response, None for runs of studies and WebSockets. A refused
    request has an `http_status` and no run.
    """

    id: str
    created_at: int
    request_id: str | None
    key_id: str
    key_name: str
    operation: str
    model: str | None
    persona_id: str | None
    status: str
    http_status: int | None
    error_code: str | None
    input_tokens: int
    output_tokens: int
    credits: int
    milliseconds: int
    upstream_nanos: int | None
    upstream_currency: str | None

    @property
    def response_id(self) -> str | None:
        """The id of the response of `POST /responses`, under which its contents may be kept."""
        if self.request_id is None or self.operation != "responses":
            return None
        return id_beside("resp", self.request_id)

    @classmethod
    def from_row(cls, row: Row) -> Self:
        return cls(**{name: row[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class RequestSearch:
    """The calls to list. Empty members match all. `before` is the time and id of the last call before."""

    workspace_id: str
    key_id: str = ""
    status: str = ""
    before: tuple[int, str] | None = None
    limit: int = 50


async def list_requests(
    db: Queries, search: RequestSearch
) -> tuple[list[LoggedRequest], tuple[int, str] | None]:
    """
    Return a page of calls, newest first, and the `before` of the next page, None at the end.

    A search for something rare may return a page that is not full, and even an empty one, before the end.
    """
    at, last_id = search.before or (1 << 62, _LAST_ID)
    searched = MOST_SEARCHED if search.key_id or search.status else search.limit + 1
    rows = await db.fetch_all(
        _LIST,
        workspace_id=search.workspace_id,
        key_id=search.key_id,
        status=search.status,
        at=at,
        last_id=last_id,
        searched=searched,
        wanted=search.limit + 1,
    )
    found = [LoggedRequest.from_row(row) for row in rows if row["matches"]]
    if len(found) > search.limit:
        last = found[search.limit - 1]
        return found[: search.limit], (last.created_at, last.id)
    # The last place that was looked at may have more calls below it.
    if rows and rows[-1]["place"] == searched:
        return found, (rows[-1]["created_at"], rows[-1]["id"])
    return found, None


async def find_request(db: Queries, workspace_id: str, identifier: str) -> LoggedRequest | None:
    """
    Return the call with this `x-request-id`, id of a response or id of a run, or None.

    Ids of requests and runs begin with their time, so the search begins there and needs no index of ids.
    """
    if is_cuid(identifier):
        begin: int | None = int(identifier[1:9], 36) // 1000
    else:
        begin = time_of(identifier)
    if begin is None or not 0 < begin < 1 << 40:
        return None
    row = await db.fetch_one(
        _FIND,
        workspace_id=workspace_id,
        begin=begin - 60,  # the clock of another machine may be behind
        end=begin + _DAY_SECONDS,
        run_id=identifier,
        request_id=id_beside("req", identifier) if owner_of(identifier) else "",
    )
    return LoggedRequest.from_row(row) if row else None


_RUN = """
    u.run_id AS id, u.created_at, u.request_id, u.key_id, COALESCE(u.operation, '') AS operation, u.model,
    u.persona_id, u.status, CAST(NULL AS BIGINT) AS http_status, u.error_code, u.input_tokens,
    u.output_tokens, u.credits, u.milliseconds, u.upstream_nanos, u.upstream_currency
"""
_REFUSAL = """
    r.request_id AS id, r.created_at, r.request_id, r.key_id, r.operation, CAST(NULL AS TEXT) AS model,
    CAST(NULL AS TEXT) AS persona_id, 'refused' AS status, r.http_status, r.error_code, 0 AS input_tokens,
    0 AS output_tokens, 0 AS credits, r.milliseconds, CAST(NULL AS BIGINT) AS upstream_nanos,
    CAST(NULL AS TEXT) AS upstream_currency
"""
_COLUMNS = (
    "id",
    "created_at",
    "request_id",
    "key_id",
    "operation",
    "model",
    "persona_id",
    "status",
    "http_status",
    "error_code",
    "input_tokens",
    "output_tokens",
    "credits",
    "milliseconds",
    "upstream_nanos",
    "upstream_currency",
)
_NAMES = ", ".join(_COLUMNS)
_LIST = f"""
    SELECT {", ".join(f"ordered.{column}" for column in _COLUMNS)}, ordered.place, ordered.matches,
           COALESCE(k.name, '') AS key_name
      FROM (SELECT {_NAMES},
                   ROW_NUMBER() OVER (ORDER BY created_at DESC, id DESC) AS place,
                   CASE WHEN (:key_id = '' OR key_id = :key_id) AND (:status = '' OR status = :status)
                        THEN 1 ELSE 0 END AS matches
              FROM (SELECT {_NAMES} FROM (SELECT {_RUN} FROM usage u
                                    WHERE u.workspace_id = :workspace_id AND u.created_at <= :at
                                      AND (u.created_at < :at OR u.run_id < :last_id)
                                    ORDER BY u.created_at DESC, u.run_id DESC
                                    LIMIT :searched) AS runs
                    UNION ALL
                    SELECT {_NAMES} FROM (SELECT {_REFUSAL} FROM refused_requests r
                                    WHERE r.workspace_id = :workspace_id AND r.created_at <= :at
                                      AND (r.created_at < :at OR r.request_id < :last_id)
                                    ORDER BY r.created_at DESC, r.request_id DESC
                                    LIMIT :searched) AS refusals) AS newest) AS ordered
      LEFT JOIN api_keys k ON k.id = ordered.key_id
     WHERE place <= :searched AND (matches = 1 OR place = :searched)
     ORDER BY ordered.created_at DESC, ordered.id DESC
     LIMIT :wanted
"""  # noqa: S608 - the columns are ours
_FIND = f"""
    SELECT {", ".join(f"found.{column}" for column in _COLUMNS)}, COALESCE(k.name, '') AS key_name
      FROM (SELECT {_RUN} FROM usage u
             WHERE u.workspace_id = :workspace_id AND u.created_at >= :begin AND u.created_at < :end
               AND (u.run_id = :run_id OR u.request_id = :request_id)
            UNION ALL
            SELECT {_REFUSAL} FROM refused_requests r
             WHERE r.workspace_id = :workspace_id AND r.created_at >= :begin AND r.created_at < :end
               AND r.request_id = :request_id) AS found
      LEFT JOIN api_keys k ON k.id = found.key_id
     LIMIT 1
"""  # noqa: S608
