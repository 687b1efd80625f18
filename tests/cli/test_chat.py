"""`mavera chat` on a real terminal, with a real server or the model in the command's own process."""

import json
import sqlite3
import stat
import time
from pathlib import Path

import pytest

from mavera.core.items import Image, Message
from mavera.errors import InvalidRequest
from mavera.models.scripted import ScriptedModel
from tests.conftest import Serve, Served
from tests.support.command import Mavera
from tests.support.images import png
from tests.support.terminal import terminal

CTRL_C, CTRL_D = "\x03", "\x04"


def talk_to(served: Served) -> tuple[str, ...]:
    return ("chat", "-p", "gen z c", "--url", served.base_url, "--key", served.key)


def list_said(model: ScriptedModel) -> list[tuple[str, str]]:
    """Return the conversation of the latest prompt, without the persona and the guidance."""
    prompt = model.prompts[-1]
    messages = [one for one in prompt.items[prompt.prefix_length :] if isinstance(one, Message)]
    return [(one.role, one.text) for one in messages if one.role != "system"]


def test_a_conversation_goes_on_with_what_was_said(environment: dict[str, str], serve: Serve) -> None:
    served = serve(model=ScriptedModel(["I would pay."]))

    with terminal(environment, *talk_to(served)) as screen:
        assert "Gen Z Consumer answers" in screen.wait_for("\n> ")
        screen.type("Would you?\r")
        assert "I would pay." in screen.wait_for("\n> ")
        screen.type("How much?\r")
        screen.wait_for("\n> ")
        assert list_said(served.model)[:3] == [
            ("user", "Would you?"),
            ("assistant", "I would pay."),
            ("user", "How much?"),
        ]
        screen.type("/new\r")
        screen.wait_for("\n> ")
        screen.type('"""One.\r')
        screen.wait_for("… ")
        screen.type('Two."""\r')
        screen.wait_for("\n> ")
        assert list_said(served.model)[0] == ("user", "One.\nTwo.")
        screen.type(CTRL_D)
        assert screen.wait_for_end() == 0


def test_ctrl_c_stops_the_answer_alone(environment: dict[str, str], serve: Serve) -> None:
    served = serve(model=ScriptedModel(["word "] * 20_000, delay_seconds=0.02))
    held = []

    with terminal(environment, *talk_to(served)) as screen:
        screen.wait_for("\n> ")
        for asked in (1, 2):
            screen.type("Tell me.\r")
            screen.wait_for("word word")
            screen.type(CTRL_C)
            assert "stopped" in screen.wait_for("\n> ")
            while served.model.running:
                time.sleep(0.05)
            held.append(count_held(served, ended=asked))
        # Its echo shows that the next question is being read.
        screen.type("x")
        screen.wait_for("x")
        # Python's readline misses a Ctrl-C in the moment between a key and its next wait for one.
        assert "/exit" in screen.press_until(CTRL_C, "\n> ")
        screen.type("/exit\r")
        assert screen.wait_for_end() == 0

    assert held == [0, 0]
    assert list_said(served.model)[1][1].startswith("word word")


def test_many_ctrl_c_do_not_end_the_conversation(environment: dict[str, str], serve: Serve) -> None:
    served = serve(model=ScriptedModel(["word "] * 20_000, delay_seconds=0.02))

    with terminal(environment, *talk_to(served)) as screen:
        screen.wait_for("\n> ")
        for _ in range(3):
            screen.type("Tell me.\r")
            screen.wait_for("word word")
            for _ in range(20):
                screen.type(CTRL_C)
                time.sleep(0.01)
            # A question that is typed before the last Ctrl-C is noticed would be lost.
            screen.press_until("/help\r", "Stop the answer")
        screen.type("/exit\r")
        assert screen.wait_for_end() == 0


def count_held(served: Served, *, ended: int) -> int:
    """Return the number of runs that hold credits, once `ended` runs are settled."""
    with sqlite3.connect(served.settings.data_dir / "mavera.db") as database:
        while database.execute("SELECT COUNT(*) FROM usage").fetchone()[0] < ended:
            time.sleep(0.05)
        return int(database.execute("SELECT COUNT(*) FROM reservations").fetchone()[0])


def test_a_failed_answer_is_reported_and_the_conversation_goes_on(
    environment: dict[str, str], serve: Serve
) -> None:
    served = serve(model=ScriptedModel(failure=InvalidRequest("Not this."), fail_after=-1))

    with terminal(environment, *talk_to(served)) as screen:
        screen.wait_for("\n> ")
        for question in ("First?", "Second?"):
            screen.type(f"{question}\r")
            assert "Not this." in screen.wait_for("\n> ")
        screen.type("/exit\r")
        assert screen.wait_for_end() == 0
    assert list_said(served.model)[0] == ("user", "Second?")


def test_a_file_keeps_the_conversation(environment: dict[str, str], serve: Serve, tmp_path: Path) -> None:
    served, file = serve(model=ScriptedModel(["Yes."])), tmp_path / "talk.json"

    with terminal(environment, *talk_to(served), "--file", str(file)) as screen:
        screen.wait_for("\n> ")
        screen.type("First?\r")
        screen.wait_for("\n> ")
        screen.type("/exit\r")
        screen.wait_for_end()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with terminal(environment, "chat", "--file", str(file)) as screen:
        begun = screen.wait_for("\n> ")
        assert "after 1 question." in begun
        assert "Gen Z Consumer" in begun
        screen.type("Second?\r")
        screen.wait_for("scripted answer to: Second?")
        screen.wait_for("\n> ")
    assert [one["role"] for one in json.loads(file.read_text())["messages"]] == ["user", "assistant"] * 2


def test_an_image_is_shown_with_one_question(
    environment: dict[str, str], serve: Serve, tmp_path: Path
) -> None:
    served, photo = serve(), tmp_path / "photo.png"
    photo.write_bytes(png())

    with terminal(environment, *talk_to(served)) as screen:
        screen.wait_for("\n> ")
        screen.type(f"/image {photo}\r")
        assert "next question" in screen.wait_for("\n> ")
        screen.type("What is it?\r")
        screen.wait_for("\n> ")
        prompt = served.model.prompts[-1]
        parts = [part for item in prompt.items if isinstance(item, Message) for part in item.parts]
        [image] = [part for part in parts if isinstance(part, Image)]
        assert image.url.startswith("data:image/png;base64,")
        screen.type(f"/image {tmp_path}\r")
        # The terminal breaks long lines between words.
        assert "is not a file" in " ".join(screen.wait_for("\n> ").split())


@pytest.mark.parametrize(
    ("written", "said"), [("hm", "has written"), ('{"persona_id": null, "messages": []}', "needs a terminal")]
)
def test_what_cannot_be_a_conversation_is_refused(
    mavera: Mavera, tmp_path: Path, environment: dict[str, str], written: str, said: str
) -> None:
    file = tmp_path / "talk.json"
    file.write_text(written)

    if "terminal" in said:
        assert said in mavera("chat", "--file", str(file), code=1).stderr
        return
    with terminal(environment, "chat", "--file", str(file)) as screen:
        screen.wait_for(said)
        assert screen.wait_for_end() == 1
