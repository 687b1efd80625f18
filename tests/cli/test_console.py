"""`mavera console`, and the link that `mavera serve` prints for somebody who sits before its terminal."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2 as httpx
import pytest

from tests.support.command import Mavera

LINK = re.compile(r"(http://\S+/console/sign-in/link\?token=[\w-]+)")


@pytest.fixture
def started_once(mavera: Mavera) -> None:
    """Make the workspace, as the first start of a server does."""
    mavera("workspaces", "create", "Default")


def test_the_command_prints_a_link_of_the_address_that_people_type(
    mavera: Mavera, started_once: None
) -> None:
    here = mavera("console", MAVERA_PORT="8123")
    public = mavera("console", "--json", MAVERA_PUBLIC_URL="https://tools.example.com/mavera/")

    assert LINK.search(here.stdout)
    assert here.stdout.startswith("http://127.0.0.1:8123/console/sign-in/link?token=")
    link = json.loads(public.stdout)
    assert link["url"].startswith("https://tools.example.com/mavera/console/sign-in/link?token=")
    assert 590 < link["expires_at"] - time.time() <= 600


def test_the_command_refuses_what_cannot_work(mavera: Mavera, started_once: None) -> None:
    off = mavera("console", code=1, MAVERA_CONSOLE="off")
    unknown = mavera("console", "--workspace", "cnobody", code=1)

    assert "MAVERA_CONSOLE=off" in off.stderr
    assert "no workspace cnobody" in unknown.stderr


@contextmanager
def serving_on_a_terminal(environment: dict[str, str], *options: str) -> Iterator[str]:
    """Start a server whose output is a terminal. Yield what it prints until the first call."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "mavera", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, env=environment, stdout=follower, stderr=subprocess.DEVNULL)
    os.close(follower)
    printed = b""
    try:
        while b"-d '" not in printed:
            printed += os.read(leader, 65536)
        text = printed.decode(errors="replace")
        yield re.sub(r"\x1b\[[0-9;]*m|\x1b\]8;[^\x1b]*\x1b\\", "", text)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        os.close(leader)


def test_a_server_on_a_terminal_prints_a_link_that_signs_in(environment: dict[str, str]) -> None:
    with serving_on_a_terminal(environment) as printed:
        link = LINK.search(printed)
        assert link is not None
        url, _, token = link[1].partition("?token=")
        home = httpx.post(
            url, data={"token": token}, headers={"Sec-Fetch-Site": "same-origin"}, follow_redirects=False
        )
        assert home.status_code == 303


def test_a_server_that_others_reach_prints_none(environment: dict[str, str]) -> None:
    with serving_on_a_terminal(environment, "--host", "0.0.0.0") as printed:
        assert "sign-in/link" not in printed
        assert "mavera console" in printed
