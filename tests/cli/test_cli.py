"""The command line as a user types it: real processes, the scripted model where one is needed."""

import csv
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import httpx2 as httpx
import openai
import pytest

from mavera.cli.main import COMMANDS
from mavera.core.items import Image
from tests.conftest import Serve
from tests.support.command import Mavera, type_mavera
from tests.support.images import data_url, png


@contextmanager
def serving(environment: dict[str, str], *arguments: str) -> Iterator[list[str]]:
    """Run `mavera serve` and yield the lines it prints before it serves."""
    command = [sys.executable, "-m", "mavera", "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            lines = []
            for line in server.stdout:
                lines.append(line)
                if line.lstrip().startswith("-d "):
                    break
            yield lines
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) in (0, -signal.SIGTERM)


@pytest.fixture(scope="module")
def first_page() -> str:
    return type_mavera(dict(os.environ))("--help").stdout


def test_the_first_start_prints_a_key_that_works_and_the_second_does_not_show_it(
    environment: dict[str, str],
) -> None:
    with serving(environment) as lines:
        text = "".join(lines)
        key = re.findall(r"mvra_live_\w+", text)[0]
        base_url = re.findall(r"http://\S+/api/v1", text)[0]
        docs = re.findall(r"docs: (\S+)", text)[0]
        client = openai.OpenAI(base_url=base_url, api_key=key)
        assert client.responses.create(model="mavera-1", input="Hm?").output_text
        with urllib.request.urlopen(docs) as page:
            assert page.status == 200
    with serving(environment) as lines:
        assert key not in "".join(lines)
        assert "mavera keys create" in "".join(lines)


def test_the_printed_curl_line_is_the_first_call(environment: dict[str, str]) -> None:
    with serving(environment) as lines:
        text = "".join(lines)
        command = text[text.index("curl ") :]
        answer = json.loads(
            subprocess.check_output(["sh", "-c", command], text=True, stderr=subprocess.DEVNULL)
        )
        assert answer["status"] == "completed"
        assert answer["persona_id"]


def test_a_start_without_the_file_of_the_model_says_so_before_the_first_call(
    environment: dict[str, str], tmp_path: Path
) -> None:
    empty = tmp_path / "no models"
    embedded = environment | {"MAVERA_MODEL_BACKEND": "embedded", "MAVERA_MODELS_DIR": str(empty)}
    with serving(embedded) as lines:
        text = "".join(lines)
    assert "The model cannot answer yet." in text
    assert "mavera models pull" in text[: text.index("Try it")]


def test_a_port_in_use_is_said_in_one_line(mavera: Mavera) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = mavera("serve", "--port", port, code=1)
    assert f"port {port}" in done.stderr
    assert "mavera serve --port" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["--port", "99999"], {}, "mavera: --port does not fit: Expected `int` <= 65535.\n"),
        ([], {"MAVERA_PORT": "-1"}, "mavera: MAVERA_PORT does not fit: Expected `int` >= 0.\n"),
        (
            [],
            {"MAVERA_MODEL_BACKEND": "upstream"},
            "mavera: MAVERA_UPSTREAM_BASE_URL has to be an http(s) URL",
        ),
    ],
)
def test_what_keeps_a_server_from_starting_is_said_in_one_line(
    mavera: Mavera, arguments: list[str], variables: dict[str, str], said: str
) -> None:
    done = mavera("serve", *arguments, code=1, **variables)
    assert done.stdout == ""
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_keys_are_made_listed_and_revoked(typed_mavera: Mavera, environment: dict[str, str]) -> None:
    mavera = typed_mavera
    with serving(environment) as lines:
        base_url = re.findall(r"http://\S+/api/v1", "".join(lines))[0]
        made = json.loads(mavera("keys", "create", "--name", "ci", "--json").stdout)
        client = openai.OpenAI(base_url=base_url, api_key=made["key"], max_retries=0)
        assert client.models.list().data
        mavera("keys", "revoke", made["id"])
        listed = {key["id"]: key for key in json.loads(mavera("keys", "list", "--json").stdout)}
        assert listed[made["id"]]["revoked_at"]
        assert made["key"] not in json.dumps(listed)
        assert made["id"] in mavera("keys", "list").stdout
        with pytest.raises(
            openai.AuthenticationError, match="revoked"
        ):  # the process above took a second and more
            client.models.list()


def test_a_plain_key_on_standard_output_can_be_piped(mavera: Mavera, environment: dict[str, str]) -> None:
    with serving(environment):
        pass
    assert re.fullmatch(r"mvra_test_\w+\n", mavera("keys", "create", "--test").stdout)


def test_keys_before_the_first_start_say_what_to_type(mavera: Mavera) -> None:
    assert "mavera serve" in mavera("keys", "list", code=1).stderr


def test_ask_prints_the_answer_alone(typed_mavera: Mavera) -> None:
    done = typed_mavera("ask", "How are you?", "--persona", "Gen Z Consumer")

    assert done.stdout == "This is a scripted answer to: How are you?\n"
    assert done.stderr == ""


def test_ask_reads_the_question_from_standard_input_and_prints_json(mavera: Mavera) -> None:
    done = mavera("ask", "-", "--json", stdin="How are you?")

    answer = json.loads(done.stdout)
    assert answer["text"] == "This is a scripted answer to: How are you?"
    assert answer["finish_reason"] == "stop"


def test_ask_asks_a_running_server(mavera: Mavera, serve: Serve) -> None:
    served = serve()

    arguments = ("ask", "How are you?", "-p", "Gen X", "--url", served.base_url, "--key", served.key)
    done = mavera(*arguments, MAVERA_MODEL_BACKEND="embedded", MAVERA_MODEL_PATH="/nowhere")

    assert done.stdout == "This is a scripted answer to: How are you?\n"
    [prompt] = served.model.prompts
    assert prompt.prefix


def test_ask_draws_an_analysis_made_here_or_by_a_server(mavera: Mavera, serve: Serve) -> None:
    served = serve()
    there = ("--url", served.base_url, "--key", served.key)

    here = mavera("ask", "I love my new bicycle!", "--analysis").stdout
    assert "valence" in here
    assert "█" in here
    assert mavera("ask", "I love my new bicycle!", "--analysis", *there).stdout == here
    told = json.loads(mavera("ask", "Hm?", "--analysis", "--json", *there).stdout)
    assert told["analysis"]["method"]["version"]


def test_compare_prints_each_answer_and_draws_a_bar_for_each_persona(mavera: Mavera, tmp_path: Path) -> None:
    plot = tmp_path / "out.svg"
    done = mavera("compare", "Is it <good>?", "-p", "Gen Z C", "-p", "Gen X", "--plot", str(plot))

    assert "valence" in done.stdout
    assert done.stdout.count("This is a scripted answer to: Is it <good>?") == 2
    table = list(csv.DictReader(io.StringIO(mavera("compare", "Hm?", "-p", "Gen X", "--csv").stdout)))
    assert [row["answer"] for row in table] == ["This is a scripted answer to: Hm?"]
    assert {"valence", "confidence", "biases"} <= set(table[0])
    drawn = ElementTree.fromstring(plot.read_text(encoding="utf-8"))
    assert sum(one.tag.endswith("rect") for one in drawn.iter()) == 1 + 2 * 3
    assert ".svg" in mavera("compare", "Hm?", "-p", "Gen Z C", "--plot", "out.png", code=1).stderr


def test_ask_finds_the_servers_own_persona_by_its_name(mavera: Mavera, serve: Serve) -> None:
    served = serve()
    made = httpx.post(
        f"{served.base_url}/personas",
        headers=served.headers,
        json={
            "pipeline_type": "north_star",
            "name": "Honey buyer",
            "type": "B2C",
            "description": "Buys honey.",
        },
        timeout=30,
    ).json()
    server = ("--url", served.base_url, "--key", served.key)

    asked = json.loads(mavera("ask", "Hm?", "-p", "honey buyer", "--json", *server).stdout)

    assert asked["persona_id"] == made["id"]
    assert "mavera personas list" in mavera("ask", "Hm?", "-p", "Zaphod", *server, code=1).stderr


def test_ask_says_what_is_wrong_with_persona_question_and_key(mavera: Mavera, serve: Serve) -> None:
    served = serve()

    assert "mavera personas list" in mavera("ask", "Hm?", "-p", "Zaphod", code=1).stderr
    assert "question" in mavera("ask", "  ", code=1).stderr
    refused = mavera("ask", "Hm?", "--url", served.base_url, "--key", "mvra_live_wrong", code=1)
    assert "--key" in refused.stderr


def test_ask_reports_the_persona_and_the_credits_of_a_server(mavera: Mavera, serve: Serve) -> None:
    served = serve()
    server = ("--url", served.base_url, "--key", served.key)

    asked = json.loads(mavera("ask", "Hm?", "-p", "Gen Z C", "--analysis", "--json", *server).stdout)
    used = httpx.get(f"{served.base_url}/usage", headers=served.headers, timeout=30).json()

    assert asked["persona_id"] == json.loads(mavera("personas", "show", "Gen Z C", "--json").stdout)["id"]
    assert asked["usage"]["credits"] == used["credits"]["used"] > 0


@pytest.mark.parametrize("is_remote", [False, True])
def test_ask_shows_images(mavera: Mavera, serve: Serve, tmp_path: Path, is_remote: bool) -> None:
    served, photo = serve(), tmp_path / "photo.png"
    photo.write_bytes(png())
    server = ("--url", served.base_url, "--key", served.key) if is_remote else ()

    done = mavera("ask", "What is it?", "-i", str(photo), "--image", data_url(png()), *server)

    assert done.stdout == "This is a scripted answer to: What is it?\n"
    if is_remote:
        parts = [part for item in served.model.prompts[-1].items for part in getattr(item, "parts", ())]
        assert [part.url for part in parts if isinstance(part, Image)] == [data_url(png())] * 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing.png", "There is no file"),
        ("folder", "is not a file"),
        ("pipe", "is not a file"),
        ("text.png", "is not a PNG, JPEG, GIF or WebP image"),
        ("large.png", "MAVERA_IMAGE_MAX_BYTES"),
        ("ftp://example.com/a.png", "http://"),
    ],
)
def test_a_file_that_is_no_image_is_refused_before_the_question(
    mavera: Mavera, tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text.png").write_text("hm")
    (tmp_path / "large.png").write_bytes(png() + b" " * 2000)
    given = name if "://" in name else str(tmp_path / name)

    done = mavera("ask", "What is it?", "--image", given, code=1, MAVERA_IMAGE_MAX_BYTES="1024")

    assert said in done.stderr
    assert done.stderr.startswith("mavera: ")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9/api/v1", "No server answers"),
        ("127.0.0.1:8000", "--url needs the URL"),
        ("ftp://example.com", "--url needs the URL"),
    ],
)
@pytest.mark.parametrize("persona", ["Gen Z C", "Honey buyer"])
def test_a_url_without_a_server_says_what_to_do(mavera: Mavera, url: str, said: str, persona: str) -> None:
    assert said in mavera("ask", "Hm?", "-p", persona, "--url", url, code=1).stderr


def test_a_url_that_lacks_the_path_of_the_api_says_so(mavera: Mavera, serve: Serve) -> None:
    served = serve()

    assert "/api/v1" in mavera("ask", "Hm?", "--url", served.url, "--key", served.key, code=1).stderr


def test_ask_without_a_model_says_what_to_type(mavera: Mavera, tmp_path: Path) -> None:
    done = mavera("ask", "Hm?", code=1, MAVERA_MODEL_BACKEND="embedded", MAVERA_MODELS_DIR=str(tmp_path))

    assert "mavera models pull" in done.stderr


def test_doctor_tells_what_is_missing_and_what_to_type(mavera: Mavera, tmp_path: Path) -> None:
    well = json.loads(mavera("doctor", "--json").stdout)
    assert all(finding["ok"] for finding in well)

    missing = mavera("doctor", code=1, MAVERA_MODEL_BACKEND="embedded", MAVERA_MODELS_DIR=str(tmp_path))
    assert "mavera models pull" in missing.stdout

    unreachable = mavera(
        "doctor", code=1, MAVERA_MODEL_BACKEND="upstream", MAVERA_UPSTREAM_BASE_URL="http://127.0.0.1:9"
    )
    assert "MAVERA_UPSTREAM_BASE_URL" in unreachable.stdout


def test_personas_and_models_are_listed(mavera: Mavera) -> None:
    personas = json.loads(mavera("personas", "list", "--json").stdout)
    assert "Gen Z Consumer" in {persona["name"] for persona in personas}
    assert personas[0]["id"] in mavera("personas", "list").stdout
    assert "Gen Z Consumer" in mavera("personas", "show", "gen z consumer").stdout
    assert "qwen2.5-coder-1.5b" in {
        model["name"] for model in json.loads(mavera("models", "list", "--json").stdout)
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_in_its_own_help_what_the_first_page_says_of_it(
    typed_mavera: Mavera, first_page: str, command: str
) -> None:
    own = " ".join(typed_mavera(command, "--help").stdout.split())

    assert COMMANDS[command][1] in first_page
    assert COMMANDS[command][1].rstrip(".") in own


def test_an_unknown_command_or_setting_is_refused(mavera: Mavera) -> None:
    assert "askk" in mavera("askk", code=2).stderr
    assert "MAVERA_PORT" in mavera("doctor", code=1, MAVERA_PROT="1").stderr
    assert "MAVERA_PORT" in mavera("serve", code=2, MAVERA_PORT="many").stderr


def test_a_setting_comes_from_the_variable_before_the_file(mavera: Mavera, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mavera.toml").write_text(
        'model_backend = "embedded"\nmodel_path = "/nowhere.gguf"\n'
    )

    assert mavera("ask", "Hm?").stdout.startswith("This is a scripted answer")
    (tmp_path / "data" / "mavera.toml").write_text("colour = 3\n")
    assert "colour" in mavera("doctor", code=1).stderr
