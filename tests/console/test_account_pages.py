"""Usage, request log, audit log and the operator's pages: what they show and to whom, and names stay text."""

import re

import httpx2 as httpx
import pytest

from mavera.accounts.credits.usage import Sums
from mavera.accounts.keys.delegation import KeyTerms
from mavera.accounts.keys.keyring import Keyring
from mavera.console.usage import draw_days
from tests.conftest import Served
from tests.console.visitors import Visitor, hidden_of, run_on_store, text_of
from tests.support.team import ASK

HOSTILE = "<script>alert(1)</script>&\"'"


@pytest.fixture(scope="module")
def hostile_key(served: Served, operator: Visitor) -> str:
    """Make a key with a hostile name, and one call with it."""

    async def make(database: object) -> str:
        async with Keyring(database) as keyring:  # type: ignore[arg-type]
            made = await keyring.make(operator.workspace_id, KeyTerms(HOSTILE))
            return made.text

    key = run_on_store(served, make)
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(f"{served.base_url}/responses", json=ASK, headers=headers, timeout=30)
    assert answer.status_code == 200
    return answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["usage", "requests", "audit"])
def test_a_hostile_name_stays_text(operator: Visitor, hostile_key: str, path: str) -> None:
    page = operator.get(path)

    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text


def test_home_usage_csv_and_api_agree(served: Served, operator: Visitor, hostile_key: str) -> None:
    api = httpx.get(f"{served.base_url}/usage", headers=served.headers).json()
    credits = f"{api['api_requests']['credits_used']:,}"
    page = text_of(operator.get("usage"))
    lines = operator.get("usage/export?by=key").text.splitlines()

    assert f"Credits in {api['by_day'][0]['date'][:7]} {credits} " in page
    column = lines[0].split(",").index("credits")
    assert sum(int(line.rsplit(",", len(lines[0].split(",")) - column)[1]) for line in lines[1:]) == int(
        credits.replace(",", "")
    )
    assert operator.get("usage/export?by=nothing").status_code == 404


def test_a_month_without_calls_says_what_to_do(operator: Visitor) -> None:
    page = operator.get("usage?month=2001-02")

    assert "Nothing was asked in 2001-02" in text_of(page)
    assert "2001-01" in page.text
    assert operator.get("usage?month=nonsense").status_code == 400


def test_a_call_is_found_by_its_id_with_its_contents(operator: Visitor, hostile_key: str) -> None:
    page = operator.get(f"requests?id={hostile_key}")

    assert page.status_code == 200
    text = text_of(page)
    assert "Would you pay?" in text
    assert "Open in playground" in text
    link = re.search(r'href="([^"]*/playground/requests/\w+)"', page.text)
    assert link is not None
    assert "data-form=" in operator.get(link[1]).text
    assert operator.get("requests?id=req_" + "0" * 24).status_code == 404
    assert operator.get("requests?status=completed").status_code == 200
    assert "No call fits" in text_of(operator.get("requests?key=nobody"))


def test_the_budget_is_set_and_the_change_is_in_the_log(admin: Visitor, member: Visitor) -> None:
    assert admin.post("usage/budget", {"budget": "1,234", "reporting_zone": "UTC"}).status_code == 200
    assert "1,234" in text_of(admin.get("usage"))
    assert "budget.changed" in text_of(admin.get("audit?action=budget"))
    refused = admin.post("usage/budget", {"budget": "many", "reporting_zone": "UTC"})
    assert refused.status_code == 400
    assert "whole number" in text_of(refused)
    assert admin.post("usage/budget", {"budget": "", "reporting_zone": "Mars"}).status_code == 400
    assert member.post("usage/budget", {"budget": "1", "reporting_zone": "UTC"}).status_code == 403
    assert admin.post("usage/budget", {"budget": "", "reporting_zone": "UTC"}).status_code == 200


def test_the_operator_makes_a_workspace_and_grants_credits_once(operator: Visitor) -> None:
    made = operator.post("/console/operator/workspaces", {"name": HOSTILE, "plan": "pro", "budget": "50"})
    assert made.status_code == 200
    path = str(made.url.path)
    assert "<script>alert" not in made.text
    form = {"form_id": hidden_of(made, "form_id"), "credits": "70", "note": "gift"}
    for _ in range(2):
        assert operator.post(f"{path}/credits", form).status_code == 200
    assert "Balance 5,070" in text_of(operator.get(path))
    saved = operator.post(path, {"name": "Crew", "plan": "enterprise", "monthly_credits": "9", "budget": ""})
    assert "Plan enterprise" in text_of(saved)
    assert operator.post(f"{path}/tools", {"tools": "tavily_search"}).status_code == 200
    log = text_of(operator.get("/console/operator/log"))
    for action in ("workspace.created", "credits.granted", "plan.changed", "tools.changed"):
        assert action in log
    assert operator.post(path, {"name": "", "plan": "odd"}).status_code == 400


@pytest.mark.parametrize("path", ["workspaces", "tools", "health", "log"])
def test_the_operators_pages_are_closed_to_others(admin: Visitor, visitor: Visitor, path: str) -> None:
    for other in (admin, visitor):
        assert other.get(f"/console/operator/{path}").status_code == 403
        assert f"/console/operator/{path}" not in other.get("home").text


def test_the_chart_has_an_axis_from_zero_and_a_bar_for_each_day() -> None:
    chart = draw_days({20_000: Sums(credits=7), 20_002: Sums(credits=-1)}, 20_000, 20_029)

    assert len(chart.bars) == 30
    assert [tick.label for tick in chart.ticks] == ["0", "4", "8"]
    assert [bar.credits for bar in chart.bars[:3]] == [7, 0, -1]
    assert chart.bars[0].height == pytest.approx((172 - 14) * 7 / 8)
    assert chart.bars[2].height == 0
    assert draw_days({}, 20_000, 20_000).ticks[0].label == "0"


def test_retention_is_saved_and_erasure_counts_first(admin: Visitor, member: Visitor) -> None:
    days = {"usage": "400", "ledger": "", "requests": "90", "answers": "", "studies": "", "audit": ""}
    assert admin.post("data/retention", days).status_code == 200
    assert 'value="400"' in admin.get("data").text
    assert admin.post("data/retention", {**days, "usage": "0"}).status_code == 400
    counted = admin.post("data/erase", {"end_user": HOSTILE})
    assert "Found: 0 runs" in text_of(counted)
    assert "<script>alert" not in counted.text
    assert "Erased: 0 runs" in text_of(admin.post("data/erase", {"end_user": "ann", "sure": "yes"}))
    assert admin.post("data/erase", {}).status_code == 400
    assert admin.post("data/erase", {"persona_id": "nobody"}).status_code == 404
    exported = admin.post("data/export")
    assert exported.content[:2] == b"PK"
    assert "data.exported" in text_of(admin.get("audit?action=data"))
    assert admin.post("data/delete", {"name": "another name"}).status_code == 400
    assert member.get("data").status_code == 403
    reset = dict.fromkeys(days, "")
    assert admin.post("data/retention", reset).status_code == 200
