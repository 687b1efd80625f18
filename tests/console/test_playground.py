"""The playground's page and its small addresses, without a browser."""

import html
import json
import re
from typing import Any

import httpx2 as httpx
import pytest

from mavera.console.pages import PAGES
from tests.conftest import Served
from tests.console.visitors import Visitor, count_queries, sign_in, sign_in_with_key, stranger, text_of

HOSTILE = "<script>alert(1)</script> [x](javascript:alert(1)) \u202edcba\u202c"
NOTE: dict[str, Any] = {
    "form": {"question": "Why so <expensive>?", "personas": ["x"]},
    "answers": [
        {"who": "Anne & Bert", "text": "Because **it** is.", "usage": {"credits_used": 3, "input_tokens": 9}}
    ],
    "model": "mavera-1",
    "format": "responses",
    "personas": "Anne & Bert",
    "status": "completed",
    "inputTokens": 9,
    "outputTokens": 4,
    "credits": 3,
}


def post(visitor: Visitor, path: str, body: Any) -> Any:
    return visitor.http.post(visitor.address(path), json=body)


def form_on(page: str) -> Any:
    found = re.search(r'data-form="([^"]*)"', page)
    return json.loads(html.unescape(found[1])) if found else None


def test_the_page_has_a_persona_chosen_and_says_what_it_cares_about(member: Visitor) -> None:
    page = member.get("playground").text

    assert len(re.findall("data-portrait=", page)) == 1
    assert "Cares about" in page
    assert form_on(page) is None


def test_portraits_are_found_by_search_page_and_id(member: Visitor) -> None:
    found = post(member, "playground/personas", {"search": "boomer"}).text
    ids = re.findall(r'value="(c[a-z0-9]{24})"', found)
    assert ids
    assert "Struggles with" in found
    named = post(member, "playground/personas", {"ids": [*ids, "c" * 25]}).text
    assert re.findall(r'value="(c[a-z0-9]{24})"', named) == ids
    first = post(member, "playground/personas", {}).text
    cursor = re.search(r'data-more="([^"]+)"', first)
    assert cursor is not None
    second = post(member, "playground/personas", {"cursor": cursor[1]}).text
    assert not set(re.findall(r'data-portrait="(\w+)"', first)) & set(
        re.findall(r'data-portrait="(\w+)"', second)
    )
    assert "No persona matches" in post(member, "playground/personas", {"search": "qqqq"}).text


def test_an_answer_is_drawn_with_its_analysis_and_never_as_markup(member: Visitor) -> None:
    body = {
        "place": "r1x0",
        "text": f"I always buy it. {HOSTILE}",
        "reasoning": HOSTILE,
        "calls": [{"name": HOSTILE, "arguments": HOSTILE}],
        "serverCalls": [
            {"name": "tavily_search", "arguments": "{}", "status": "completed", "result": HOSTILE,
             "url": "javascript:alert(1)", "sources": [{"url": "javascript:alert(1)", "title": HOSTILE}]}
        ],
        "artifacts": [{"title": HOSTILE, "content": HOSTILE, "language": "html"}],
        "mosaic": {
            "answers": [{"name": HOSTILE, "weight": 0.5, "text": HOSTILE}],
            "positions": [{"position": HOSTILE, "share": 0.5}],
        },
        "analysis": {
            "confidence": 7, "key_insights": [HOSTILE], "insight_sources": [{"sentences": [0]}],
            "biases": [
                {"name": HOSTILE, "probability": 0.8, "description": HOSTILE, "evidence": ["always buy"]},
            ],
        },
        "usage": {"credits_used": 2},
    }  # fmt: skip

    page = post(member, "playground/answer", body).text

    assert "<script" not in page
    assert not re.search(r'(?:href|src)="\s*javascript', page)
    assert 'id="r1x0-s0"' in page
    assert 'href="#r1x0-b0-0"' in page
    assert "Confidence: 7, from 1 (unsure) to 10 (sure)" in page
    assert "alert(1)" in page


def test_an_answer_in_json_is_drawn_as_json(member: Visitor) -> None:
    page = post(member, "playground/answer", {"text": '{"a":"<b>"}'}).text

    assert "&lt;b&gt;" in html.unescape(page).replace("<b>", "&lt;b&gt;")
    assert '<pre class="json"' in page
    assert "<b>" not in page


@pytest.mark.parametrize("body", [{"place": '"><script>'}, {"text": 5}, {"answers": 1, "calls": {}}, [1]])
def test_members_of_another_shape_are_refused(member: Visitor, body: Any) -> None:
    assert post(member, "playground/answer", body).status_code in (400, 422)


def test_a_long_form_is_kept_behind_a_link(member: Visitor, admin: Visitor) -> None:
    form = {"question": 'q"<>&' * 5_000, "personas": ["x"]}

    path = post(member, "playground/forms", form).json()["path"]

    assert form_on(admin.get(path).text) == form
    missing = admin.get("playground/forms/" + "c" * 25)
    assert missing.status_code == 404


def test_a_run_is_opened_again_by_its_author_only(served: Served) -> None:
    ada, key = sign_in(served, "member"), sign_in_with_key(served)

    run_id = post(ada, "playground/runs", NOTE).json()["id"]

    listed = ada.get("playground/history")
    assert "Anne & Bert completed Responses 13 3" in html.unescape(text_of(listed))
    opened = ada.get(f"playground/runs/{run_id}")
    assert form_on(opened.text) == NOTE["form"]
    assert "<strong>it</strong>" in opened.text
    assert "3 credits" in opened.text
    assert run_id not in key.get("playground/history").text
    assert key.get(f"playground/runs/{run_id}").status_code == 404
    assert key.post(f"playground/runs/{run_id}/forget").status_code == 200
    assert ada.get(f"playground/runs/{run_id}").status_code == 200
    assert run_id not in ada.post(f"playground/runs/{run_id}/forget").text
    assert ada.get(f"playground/runs/{run_id}").status_code == 404


def test_a_call_of_the_request_log_is_opened_while_it_is_kept(served: Served, member: Visitor) -> None:
    persona = re.search(r'data-portrait="(\w+)"', member.get("playground").text)
    assert persona is not None
    body = {"model": "mavera-1", "input": HOSTILE, "persona_id": persona[1]}
    before = len(served.model.prompts)
    call = httpx.post(f"{served.base_url}/responses", json=body, headers=served.headers)
    chat = httpx.post(
        f"{served.base_url}/chat/completions",
        json={"model": "mavera-1", "messages": [{"role": "user", "content": "x"}]},
        headers=served.headers,
    )

    page = member.get(f"playground/requests/{call.headers['x-request-id']}").text

    assert form_on(page)["question"] == HOSTILE
    assert form_on(page)["personas"] == [persona[1]]
    assert "This is a scripted answer to" in page
    assert "<script>alert" not in page
    assert len(served.model.prompts) == before + 2
    gone = member.get(f"playground/requests/{chat.headers['x-request-id']}")
    assert "The contents are not kept" in gone.text
    assert member.get("playground/requests/req_" + "0" * 24).status_code == 404


def test_the_history_is_read_in_pages(served: Served) -> None:
    key = sign_in_with_key(served, served.test_key)
    for _ in range(27):
        assert post(key, "playground/runs", NOTE).status_code == 200

    first = key.get("playground/history").text
    older = re.search(r'href="([^"]+before=[^"]+)"', first)
    assert older is not None
    assert first.count("/forget") == 25
    assert key.get(html.unescape(older[1])).text.count("/forget") == 2
    with count_queries() as counted:
        key.get("playground/history")
    assert counted.queries <= 3


def test_drawing_and_noting_ask_no_model_and_charge_nothing(served: Served, member: Visitor) -> None:
    before = len(served.model.prompts)

    post(member, "playground/answer", {"text": "x", "analysis": {}})
    post(member, "playground/runs", NOTE)

    assert len(served.model.prompts) == before


def test_the_session_calls_the_public_api(served: Served, member: Visitor) -> None:
    headers = {"X-Mavera-Workspace": member.workspace_id}
    body = {"model": "mavera-1", "input": "Why?"}

    answer = member.http.post("/api/v1/responses", json=body, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["usage"]["credits_used"] > 0
    crossed = member.http.post(
        "/api/v1/responses", json=body, headers={**headers, "Sec-Fetch-Site": "cross-site"}
    )
    assert crossed.status_code == 403
    assert stranger(served).post("/api/v1/responses", json=body).status_code == 401


def test_every_address_of_the_playground_wants_a_session(served: Served, member: Visitor) -> None:
    for page in PAGES:
        if "/playground" not in page.path:
            continue
        path = page.path.replace("{workspace_id}", member.workspace_id)
        answer = stranger(served).request(page.method, re.sub(r"\{\w+\}", "x", path), follow_redirects=False)
        assert answer.status_code in (303, 401), page.path
