"""Find budgets that are nearly spent, and models that are down."""

import time
from collections.abc import Callable, Mapping, Sequence

from mavera.alerts.findings import Finding
from mavera.core.text import format_count
from mavera.models.model import Model
from mavera.storage.database import Database

# Budgets that were reached longer ago are no news, for example when alerts are turned on.
RECENT_SECONDS = 86_400
# A model is reported after it was unavailable at each look of this time.
DOWN_SECONDS = 60.0


class BudgetSource:
    """Finds budgets of which 50, 75 or 90 % is spent."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def __call__(self) -> Sequence[Finding]:
        rows = await self._database.fetch_all(
            """
            SELECT a.subject_id, a.month, a.percent, a.workspace_id, a.budget, a.spent, w.name AS workspace,
                   k.name AS key
              FROM alerts a
              JOIN workspaces w ON w.id = a.workspace_id
              LEFT JOIN api_keys k ON k.id = a.subject_id
             WHERE a.created_at >= :since
             ORDER BY a.created_at, a.percent
            """,
            since=int(self._clock()) - RECENT_SECONDS,
        )
        return [
            Finding(
                subject=f"budget:{row['subject_id']}:{row['month']}:{row['percent']}:{row['budget']}",
                kind="budget.reached",
                text=(
                    f"{_name_spender(row['workspace'], row['key'])} has spent {row['percent']} % of the"
                    f" month's budget: {row['spent']:,} of {format_count(row['budget'], 'credit')}."
                ),
                data={
                    name: row[name]
                    for name in ("workspace_id", "subject_id", "month", "percent", "budget", "spent")
                },
                may_recur=False,
            )
            for row in rows
        ]


def _name_spender(workspace: str, key: str | None) -> str:
    return f"The key {key!r} of {workspace}" if key is not None else f"The workspace {workspace}"


class ModelSource:
    """Finds models that have been unavailable for a minute."""

    def __init__(self, models: Mapping[str, Model], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._models = models
        self._clock = clock
        self._down_since: dict[str, float] = {}

    async def __call__(self) -> Sequence[Finding]:
        now = self._clock()
        for name, model in self._models.items():
            if model.status().state == "unavailable":
                self._down_since.setdefault(name, now)
            else:
                self._down_since.pop(name, None)
        return [
            Finding(
                subject=f"model:{name}",
                kind="model.down",
                text=f"The model {name} has not answered for a minute.",
                data={"model": name, "detail": self._models[name].status().detail},
            )
            for name, since in self._down_since.items()
            if now - since >= DOWN_SECONDS
        ]
