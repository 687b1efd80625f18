"""
The console of the wheel, as a careful operator runs it.

    installed from the wheel, in a folder that nobody can write; as a user who is not root; without a place
    for temporary files; with four workers; behind nginx, below a path
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.browser.watched import running_chromium, watched_page
from tests.install.test_packages import build, clean_environ, copy_tree, run
from tests.support.requirements import require_program

pytestmark = pytest.mark.proof

NOBODY = 65534
PREFIX = "/mavera"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
NGINX = """
pid {folder}/nginx.pid;
error_log stderr;
daemon off;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 32m;
        location {prefix}/ {{
            proxy_pass http://127.0.0.1:{behind}/;
            proxy_set_header Host $host;
            proxy_buffering off;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Installed:
    """`command` runs mavera, and `environ` has its settings."""

    url: str
    command: tuple[str, ...]
    environ: dict[str, str]
    packages: Path


def find_interpreter() -> tuple[str, dict[str, Any]]:
    """Return a Python that a user who is not root can run, and the user for a process."""
    if os.geteuid() != 0:
        return sys.executable, {}
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    return (system, {"user": NOBODY, "group": NOBODY}) if Path(system).exists() else (sys.executable, {})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    pytest.fail(f"{url} did not answer; the process has {process.poll()}")


def close_to_writers(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    nginx = require_program("nginx")
    wheel = build(
        copy_tree(tmp_path_factory.mktemp("clone")), "build_wheel", tmp_path_factory.mktemp("wheel")
    )
    python, user = find_interpreter()
    # pytest's own folders are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="mavera-installed-"))
    folder.chmod(0o755)
    packages, nothing, data = (folder / name for name in ("packages", "nothing", "data"))
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        packages,
        wheel,
        cwd=folder,
    )
    for made in (nothing, data):
        made.mkdir(mode=0o755)
    close_to_writers(packages)
    close_to_writers(nothing)
    if user:
        os.chown(data, NOBODY, NOBODY)
        os.chown(folder, NOBODY, NOBODY)
    port, behind = free_port(), free_port()
    url = f"http://127.0.0.1:{port}{PREFIX}"
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    environ = clean_environ(
        PYTHONPATH=os.pathsep.join([str(packages), *libraries]),
        PYTHONDONTWRITEBYTECODE="1",
        TMPDIR=str(nothing),
        HOME=str(nothing),
        MAVERA_DATA_DIR=str(data),
        MAVERA_MODEL_BACKEND="scripted",
        MAVERA_PORT=str(behind),
        MAVERA_WORKERS="4",
        MAVERA_PUBLIC_URL=url,
    )
    (folder / "nginx.conf").write_text(
        NGINX.format(folder=folder, port=port, behind=behind, prefix=PREFIX), encoding="utf-8"
    )
    command = (python, "-m", "mavera")
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([*command, "serve"], env=environ, cwd=nothing, **quiet, **user)
    proxy = subprocess.Popen([nginx, "-p", folder, "-c", folder / "nginx.conf"], **quiet, **user)
    try:
        wait_for(f"{url}/health/ready", server)
        yield Installed(url, command, environ, packages)
    finally:
        for process in (proxy, server):
            process.terminate()
            process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def browser(installed: Installed) -> Iterator[httpx.Client]:
    """Sign in with the link that `mavera console` prints."""
    _, user = find_interpreter()
    printed = subprocess.check_output(
        [*installed.command, "console", "--json"], env=installed.environ, cwd="/", **user
    )
    link = json.loads(printed)["url"]
    assert link.startswith(f"{installed.url}/console/sign-in/link?token=")
    with httpx.Client(headers=SAME_ORIGIN, follow_redirects=True, timeout=30) as client:
        token = re.search(r'name="token" value="([^"]+)"', client.get(link).text)
        assert token is not None
        home = client.post(f"{installed.url}/console/sign-in/link", data={"token": token[1]})
        assert home.status_code == 200
        client.base_url = home.url
        yield client


def addresses_of(page: httpx.Response) -> list[str]:
    return sorted(set(re.findall(r'(?:href|src)="(/[^"#]*)"', page.text)))


def test_every_page_and_file_is_served_below_the_path_by_any_worker(
    installed: Installed, browser: httpx.Client
) -> None:
    home = browser.get(str(browser.base_url))
    assert home.status_code == 200
    addresses = addresses_of(home)

    assert len(addresses) > 8
    assert all(address.startswith(f"{PREFIX}/") for address in addresses), addresses
    for _ in range(3):
        for address in addresses:
            # A connection of its own may reach another worker.
            answer = browser.get(
                f"{installed.url.removesuffix(PREFIX)}{address}", headers={"Connection": "close"}
            )
            assert answer.status_code == 200, address


def test_a_key_is_made_and_a_question_is_asked_below_the_path(
    installed: Installed, browser: httpx.Client
) -> None:
    keys = str(browser.base_url).rstrip("/").replace("/home", "/settings/keys/new")
    form = browser.get(keys)
    form_id = re.search(r'name="form_id" value="([^"]+)"', form.text)
    assert form_id is not None
    fields = {"form_id": form_id[1], "name": "Made", "scopes": ["responses"], "expires": ""}

    made = browser.post(keys, data=fields)

    key = re.search(r"mvra_live_\w{39}", made.text)
    assert key is not None
    question = {"model": "mavera-1", "input": "Hm?"}
    api = f"{installed.url}/api/v1/responses"
    assert httpx.post(api, json=question, headers={"Authorization": f"Bearer {key[0]}"}).status_code == 200
    assert browser.post(api, json=question).status_code == 200


def test_a_real_browser_signs_in_and_plays_below_the_path(installed: Installed) -> None:
    _, user = find_interpreter()
    printed = subprocess.check_output(
        [*installed.command, "console", "--json"], env=installed.environ, cwd="/", **user
    )
    with running_chromium() as chromium, watched_page(chromium, installed.url) as watched:
        page = watched.page
        page.goto(json.loads(printed)["url"], wait_until="load")
        page.click("button:has-text('Sign in')")
        page.wait_for_url(re.compile(f"{PREFIX}/console/w/.*/home"))
        page.click("nav a:has-text('Playground')")
        page.wait_for_selector("#playground:not([hidden])")
        page.check("[name=analysis]")
        page.fill("#question", "Would you pay for this?")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector(".analysis")
        page.click("#view-code")
        assert f"{installed.url}/api/v1" in page.locator("#code pre").first.inner_text()
        page.keyboard.press("Escape")
        for name in ("Personas", "Studies", "Usage"):
            page.click(f"nav a:has-text('{name}')")
            page.wait_for_selector("h1")
            assert f"{PREFIX}/console/" in page.url
            assert page.title()
            watched.check_widths()


def test_the_form_with_a_file_needs_no_place_for_temporary_files(browser: httpx.Client) -> None:
    address = str(browser.base_url).rstrip("/").replace("/home", "/settings/keys/new")
    files = {"unused": ("big.txt", b"x" * 3_000_000, "text/plain")}

    answer = browser.post(
        address, data={"name": "From a form with a file", "scopes": ["responses"]}, files=files
    )

    assert answer.status_code == 201


def test_the_console_adds_less_than_a_megabyte_to_the_wheel(installed: Installed) -> None:
    folder = installed.packages / "mavera" / "console"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    assert size < 1_000_000
