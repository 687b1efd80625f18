"""The playground in a real browser: answers that arrive, stop, wait, fail and come back."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mavera.models.embedded.pull import resolve_model
from mavera.models.scripted import ScriptedModel
from mavera.settings import load_settings
from tests.browser.watched import Watched, watched_page
from tests.conftest import Served, running_server
from tests.console.visitors import first_workspace, run_on_sessions
from tests.support.requirements import require_model, require_program
from tests.support.tables import make_tables

ANSWER = "I would **probably** wait. Everyone I know cancelled theirs, so I'd be the odd one out."
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)> [x](javascript:alert(1)) ![y](http://evil.example/a.png)"
    " \u202ereversed\u202c " + "verylong" * 12_500
)
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6364f8cf500f00030e018058"
    "f47d690000000049454e44ae426082"
)


class SlowModel(ScriptedModel):
    """Answers one word at a time, and remembers how many answers it gave at once."""

    def __init__(self, text: str = ANSWER, **options: Any) -> None:
        super().__init__(re.findall(r"\S+\s*", text), **options)
        self.most_running = 0

    async def stream(self, prompt: Any) -> Any:
        async for event in super().stream(prompt):
            self.most_running = max(self.most_running, self.running)
            yield event


@contextmanager
def serving(folder: Path, model: Any = None, **settings: Any) -> Iterator[Served]:
    """Start a server beside the browser, whose driver has the event loop of the main thread."""
    folder.chmod(0o700)
    running = running_server(folder, model, **settings)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(make_tables, f"sqlite:///{folder}/mavera.db").result()
        served = thread.submit(running.__enter__).result()
        try:
            yield served
        finally:
            thread.submit(running.__exit__, None, None, None).result()


@contextmanager
def playing(chromium: Any, served: Served, **options: Any) -> Iterator[Watched]:
    """Open the playground of `served`, signed in."""
    with ThreadPoolExecutor(1) as thread:
        workspace = thread.submit(first_workspace, served).result()
        token = thread.submit(
            run_on_sessions, served, lambda sessions: sessions.begin(workspace, "operator", "link", "Ada")
        ).result()
        name = thread.submit(run_on_sessions, served, lambda sessions: sessions.name_instance()).result()
    with watched_page(chromium, served.url, (f"mavera-{name}", token.text), **options) as watched:
        watched.open(f"/console/w/{workspace}/playground")
        watched.page.wait_for_selector("#playground:not([hidden])")
        yield watched


@pytest.fixture
def slow(chromium: Any, tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, SlowModel(delay_seconds=0.05)) as served:
        yield served


def ask(watched: Watched, question: str = "Would you pay for this?") -> None:
    watched.page.fill("#question", question)
    watched.page.keyboard.press("Control+Enter")


def choose(watched: Watched, number: int) -> None:
    """Choose personas until `number` are chosen."""
    page = watched.page
    page.click("#choose")
    page.wait_for_selector(".pick")
    boxes = page.locator(".pick input:not(:checked)")
    while page.locator("#chosen li [data-portrait]").count() < number:
        boxes.first.check()
    page.keyboard.press("Escape")


def badges(watched: Watched) -> list[str]:
    return [text.strip() for text in watched.page.locator(".answer-head .badge").all_inner_texts()]


def wait_until(page: Any, condition: Callable[[], bool], seconds: int = 10) -> None:
    for _ in range(seconds * 20):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it has not come to pass")


def wait_for_ends(watched: Watched) -> None:
    watched.page.wait_for_selector(".answer[aria-busy]", state="detached")
    watched.page.wait_for_selector("#send:enabled")


def test_an_answer_arrives_as_text_and_ends_drawn(chromium: Any, slow: Served) -> None:
    with playing(chromium, slow) as watched:
        page = watched.page
        page.check("[name=analysis]")
        ask(watched)
        page.wait_for_selector(".arriving:has-text('**probably**')")
        assert page.locator(".prose").count() == 0

        page.wait_for_selector(".analysis")
        assert page.locator(".prose strong").inner_text() == "probably"
        assert page.locator(".prose mark.insight").count() > 0
        assert re.search(r"\d credits? · [\d,]+ \+ \d+ tokens", page.locator(".answer-foot").inner_text())
        page.locator(".to-sentence").first.click()
        assert page.locator("mark.found").count() == 1
        watched.check_widths()


@pytest.mark.parametrize("kind", ["responses", "chat"])
def test_stopping_reaches_the_engine_and_the_text_stays(chromium: Any, tmp_path: Path, kind: str) -> None:
    model = SlowModel("word " * 400, delay_seconds=0.05)
    with serving(tmp_path, model) as served, playing(chromium, served) as watched:
        page = watched.page
        page.check(f"[name=format][value={kind}]", force=True)
        ask(watched)
        page.wait_for_selector(".arriving:has-text('word word')")
        page.keyboard.press("Escape")
        wait_for_ends(watched)

        assert badges(watched) == ["stopped"]
        assert "word word" in page.locator(".answer-body").inner_text()
        # Without the stop, the answer would take 20 seconds more.
        wait_until(page, lambda: model.running == 0)


def test_three_answers_arrive_at_a_time_and_the_rest_wait_in_order(chromium: Any, slow: Served) -> None:
    with playing(chromium, slow) as watched:
        choose(watched, 5)
        ask(watched)
        watched.page.wait_for_selector(".arriving:has-text('I would')")
        assert badges(watched)[3:] == ["waits, number 1", "waits, number 2"]

        wait_for_ends(watched)
        assert badges(watched) == ["completed"] * 5
        assert slow.model.most_running == 3
        assert len({prompt.items[0].text for prompt in slow.model.prompts}) == 5
        watched.check_widths()


def test_a_waiting_answer_can_be_stopped_and_is_never_sent(chromium: Any, slow: Served) -> None:
    with playing(chromium, slow) as watched:
        choose(watched, 4)
        ask(watched)
        watched.page.wait_for_selector(".badge:has-text('waits')")
        watched.page.locator(".answer").nth(3).locator("button").click()
        wait_for_ends(watched)

        assert badges(watched) == ["completed"] * 3 + ["stopped"]
        assert len(slow.model.prompts) == 3


def test_a_hidden_tab_starts_nothing_until_it_is_looked_at(chromium: Any, slow: Served) -> None:
    hide = "(is) => { Object.defineProperty(document, 'hidden', {value: is, configurable: true});"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    with playing(chromium, slow) as watched:
        page = watched.page
        choose(watched, 4)
        ask(watched)
        page.evaluate(hide, True)
        page.wait_for_selector(".badge:has-text('completed') >> nth=2")
        assert badges(watched)[3] == "waits until you look at this tab"

        page.evaluate(hide, False)
        wait_for_ends(watched)
        assert badges(watched) == ["completed"] * 4


def test_a_mosaic_is_one_answer_of_all(chromium: Any, tmp_path: Path) -> None:
    with serving(tmp_path, ScriptedModel()) as served, playing(chromium, served) as watched:
        choose(watched, 3)
        watched.page.check("[name=mosaic][value=on]", force=True)
        ask(watched)
        wait_for_ends(watched)

        assert badges(watched) == ["completed"]
        watched.page.wait_for_selector(".voice >> nth=2")
        assert watched.page.locator(".analysis").count() == 1


@pytest.mark.parametrize("kind", ["responses", "chat"])
def test_an_error_in_a_stream_keeps_the_text_and_says_what_to_do(
    chromium: Any, tmp_path: Path, kind: str
) -> None:
    model = SlowModel(fail_after=4, failure=RuntimeError("no"))
    with serving(tmp_path, model) as served, playing(chromium, served) as watched:
        watched.page.check(f"[name=format][value={kind}]", force=True)
        ask(watched)
        wait_for_ends(watched)

        assert badges(watched) == ["failed"]
        notice = watched.page.locator(".answer .notice").inner_text()
        assert "Send it again" in notice
        assert "I would probably" in watched.page.locator(".answer-body").inner_text()


def test_a_card_is_busy_until_its_answer_is_drawn(chromium: Any, slow: Served) -> None:
    held: list[Any] = []
    with playing(chromium, slow) as watched:
        page = watched.page
        page.route("**/playground/answer", lambda route: held.append(route))
        ask(watched)
        wait_until(page, lambda: bool(held))
        assert badges(watched) == ["completed"]
        assert page.locator(".answer[aria-busy]").count() == 1
        assert page.locator(".arriving").inner_text() == ANSWER

        held[0].continue_()
        wait_for_ends(watched)
        assert page.locator(".prose strong").inner_text() == "probably"


def test_an_answer_that_could_not_be_drawn_stays_as_text(chromium: Any, slow: Served) -> None:
    with playing(chromium, slow) as watched:
        watched.page.route("**/playground/answer", lambda route: route.abort())
        watched.expect_failed_requests()
        ask(watched)
        wait_for_ends(watched)

        assert watched.page.locator(".arriving").inner_text() == ANSWER
        assert "could not be reached" in watched.page.locator("#notice").inner_text()


def test_a_refused_request_names_the_field_and_the_way_out(chromium: Any, slow: Served) -> None:
    with playing(chromium, slow) as watched:
        page = watched.page
        page.locator("details:has([name=tools]) > summary").click()
        page.fill("[name=tools]", "{")
        ask(watched)
        assert "not JSON" in page.locator("#notice").inner_text()
        assert page.evaluate("document.activeElement.name") == "tools"

        page.fill("[name=tools]", '[{"name": "a b"}]')
        watched.expect_status(422)
        ask(watched)
        wait_for_ends(watched)
        assert "Change the field" in page.locator(".answer .notice").inner_text()
        assert page.input_value("#question") == "Would you pay for this?"


def test_a_session_that_ends_in_mid_stream_costs_nothing_typed_and_nothing_read(
    chromium: Any, slow: Served
) -> None:
    with playing(chromium, slow) as watched:
        page = watched.page
        watched.expect_status(401)
        ask(watched)
        page.wait_for_selector(".arriving:has-text('I would')")
        cookies = page.context.cookies()
        page.context.clear_cookies()
        wait_for_ends(watched)

        page.wait_for_selector("#notice:has-text('Your session has ended')")
        assert "odd one out" in page.locator(".answer-body").inner_text()
        assert page.input_value("#question") == "Would you pay for this?"
        ask(watched)
        wait_for_ends(watched)
        assert "Sign in again" in page.locator(".answer .notice").inner_text()
        page.context.add_cookies(cookies)
        ask(watched)
        wait_for_ends(watched)
        assert badges(watched) == ["completed"]


def test_a_server_that_stops_leaves_the_text_and_a_way_out(chromium: Any, tmp_path: Path) -> None:
    model = SlowModel("word " * 400, delay_seconds=0.05)
    with (
        serving(tmp_path, model, shutdown_grace_seconds=1) as served,
        playing(chromium, served) as watched,
    ):
        page = watched.page
        page.wait_for_load_state("networkidle")
        ask(watched)
        page.wait_for_selector(".arriving:has-text('word word')")
        served.stop()
        wait_for_ends(watched)

        assert badges(watched) == ["failed"]
        assert "word word" in page.locator(".answer-body").inner_text()
        assert "send again" in page.locator(".answer .notice").inner_text()
        assert page.input_value("#question") == "Would you pay for this?"
        watched.faults = [fault for fault in watched.faults if "ERR_CONNECTION_REFUSED" not in fault]


def test_a_hostile_answer_of_100_kb_stays_text(chromium: Any, tmp_path: Path) -> None:
    with (
        serving(tmp_path, ScriptedModel([HOSTILE])) as served,
        playing(chromium, served, viewport={"width": 320, "height": 640}) as watched,
    ):
        page = watched.page
        page.on("dialog", lambda dialog: watched.faults.append(f"a dialog: {dialog.message}"))
        page.check("[name=analysis]")
        ask(watched, "<img src=x onerror=alert(1)>")
        page.wait_for_selector(".prose")
        wait_for_ends(watched)

        assert page.locator(".answer :is(script, img)").count() == 0
        assert page.locator(".answer a[href^=javascript]").count() == 0
        assert "<script>alert(1)</script>" in page.locator(".prose").inner_text()
        assert page.locator(".prose").inner_text().count("verylong") == 12_500
        watched.check_widths()


def test_a_link_fills_the_form_in_and_sends_nothing(chromium: Any, slow: Served) -> None:
    with playing(chromium, slow) as watched:
        page = watched.page
        choose(watched, 2)
        page.check("[name=format][value=chat]", force=True)
        for question in ('Why "so" & how? 😀', "long " * 2_000):
            page.fill("#question", question)
            page.click("#copy-link")
            address = page.locator("#notice code").inner_text()
            assert "?" not in address
            assert ("#form=" in address) == (len(question) < 100)

            opened = page.context.new_page()
            opened.goto(address)
            opened.wait_for_selector("#chosen li:nth-child(2) [data-portrait]")
            assert opened.input_value("#question") == question
            assert opened.locator("[name=format][value=chat]").is_checked()
            assert opened.locator(".answer").count() == 0
            opened.close()
        assert slow.model.prompts == []


def test_a_run_is_opened_again_from_the_history(chromium: Any, slow: Served) -> None:
    with playing(chromium, slow) as watched:
        page = watched.page
        with page.expect_response("**/playground/runs"):
            ask(watched)
        asked = len(slow.model.prompts)
        page.click("text=History")
        page.locator("td a").first.click()
        page.wait_for_selector("#playground:not([hidden])")

        assert page.input_value("#question") == "Would you pay for this?"
        assert page.locator(".prose strong").inner_text() == "probably"
        assert len(slow.model.prompts) == asked


def test_the_form_survives_a_reload(chromium: Any, slow: Served) -> None:
    with playing(chromium, slow) as watched:
        watched.page.fill("#question", "Typed for a while")
        watched.page.check("[name=analysis]")
        watched.page.reload()
        watched.page.wait_for_selector("#playground:not([hidden])")

        assert watched.page.input_value("#question") == "Typed for a while"
        assert watched.page.locator("[name=analysis]").is_checked()


def test_an_image_is_shown_sent_and_in_code_that_runs(chromium: Any, slow: Served) -> None:
    with playing(chromium, slow) as watched:
        page = watched.page
        file = {"name": '"><img src=x>.png', "mimeType": "image/png", "buffer": PIXEL}
        page.set_input_files("#add-image", files=[file])
        assert page.locator("#pictures img").get_attribute("src").startswith("data:image/png;base64,")
        page.fill("#question", "What is it?")
        page.click("#view-code")
        page.check("[name=language][value=curl]", force=True)
        program = page.locator("#code-text").inner_text()
        watched.check_accessibility()
        page.click("#code [data-close]")

        run = subprocess.run(
            [require_program("bash")],
            input=program,
            env={"PATH": "/usr/bin:/bin", "MAVERA_API_KEY": slow.key, "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        ask(watched, "What is it?")
        wait_for_ends(watched)
        sent = [_list_urls(prompt) for prompt in slow.model.prompts]
        assert sent[0] == sent[1] != []


def _list_urls(prompt: Any) -> list[str]:
    parts = [part for item in prompt.items for part in getattr(item, "parts", ())]
    return [part.url for part in parts if hasattr(part, "url")]


def test_a_json_schema_and_a_tool_are_used(chromium: Any, tmp_path: Path) -> None:
    with serving(tmp_path, ScriptedModel()) as served, playing(chromium, served) as watched:
        page = watched.page
        schema = {"type": "object", "properties": {"buys": {"type": "boolean"}}, "required": ["buys"]}
        page.locator("details:has([name=schema]) > summary").click()
        page.fill("[name=schema]", json.dumps(schema))
        ask(watched)
        page.wait_for_selector("pre.json:has-text('buys')")
        page.click("#reset")
        assert page.input_value("[name=schema]") == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_the_page_in_use_is_accessible(chromium: Any, slow: Served, scheme: str, width: int) -> None:
    size = {"width": width, "height": 800}
    with playing(chromium, slow, color_scheme=scheme, viewport=size, reduced_motion="reduce") as watched:
        page = watched.page
        page.check("[name=analysis]")
        choose(watched, 2)
        for group in page.locator("details.group > summary").all():
            group.click()
        ask(watched)
        page.wait_for_selector(".arriving:has-text('I would')")
        watched.check_accessibility()
        page.wait_for_selector(".analysis >> nth=1")
        wait_for_ends(watched)
        watched.check_accessibility()
        watched.check_widths()
        page.click("#choose")
        page.wait_for_selector(".pick")
        watched.check_accessibility()


@pytest.mark.embedded
def test_the_embedded_model_answers_in_the_playground(chromium: Any, tmp_path: Path) -> None:
    named = load_settings({}, model="smollm2-135m")
    require_model(named)
    with (
        serving(tmp_path, model_backend="embedded", model_path=resolve_model(named)) as served,
        playing(chromium, served) as watched,
    ):
        page = watched.page
        page.set_default_timeout(120_000)
        page.check("[name=analysis]")
        page.locator("details:has([name=maxTokens]) > summary").click()
        page.fill("[name=maxTokens]", "60")
        ask(watched, "Do you like tea?")
        page.wait_for_selector(".analysis")
        assert page.locator(".prose").inner_text().strip()
        assert "credit" in page.locator(".answer-foot").inner_text()


def test_the_main_job_takes_three_actions(chromium: Any, slow: Served) -> None:
    """Open the link and press *Sign in*; type; send."""
    with ThreadPoolExecutor(1) as thread:
        link = thread.submit(run_on_sessions, slow, lambda sessions: sessions.make_link()).result()
    with watched_page(chromium, slow.url) as watched:
        watched.open(f"/console/sign-in/link?token={link.text}")
        watched.page.keyboard.press("Enter")
        watched.page.wait_for_selector("#ask:focus")
        watched.page.keyboard.type("Would you pay for this?")
        watched.page.keyboard.press("Control+Enter")

        watched.page.wait_for_selector(".prose")
        assert len(slow.model.prompts) == 1
