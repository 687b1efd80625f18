"""The files of deploy/ besides the chart: each is checked by the program that will read it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mavera import __version__
from mavera.settings import Settings, load_settings, takes_file
from tests.docs.pages import DOCS, ROOT, rows, sections, ticked
from tests.support.requirements import require_module, require_program, skip_or_fail

pytestmark = pytest.mark.proof

DEPLOY = ROOT / "deploy"


def check(*command: str, **environ: str) -> str:
    """Run a program, which must succeed, and return what it printed."""
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def find_own_program(name: str) -> str:
    """Return a program that a Python package has put beside the interpreter."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        skip_or_fail(f"{name} is not installed: make .venv/proofs")
    return str(path)


def read_compose() -> dict[str, Any]:
    text = (DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = require_module("yaml").safe_load(text)
    return content


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a file with a key and a certificate of its own."""
    require_program("openssl")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=api.example.com", "-days", "1"]
    check(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        str(key),
        "-out",
        str(cert),
        *subject,
    )
    both = tmp_path / "both.pem"
    both.write_text(key.read_text() + cert.read_text())
    return both


def test_the_dockerfile_has_no_fault() -> None:
    assert check(find_own_program("hadolint"), str(DEPLOY / "Dockerfile")) == ""


def test_the_dockerfile_runs_as_nobody_and_copies_what_is_not_ignored() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    final = text.rpartition("\nFROM ")[2]
    assert "USER 10001:0" in final
    assert text.count("\nFROM ") >= 3
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, flags=re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists(), name
            assert f"!{name.partition('/')[0]}" in ignored, name
    assert "<<" not in text, "the builders that we name differ in heredocs"


def test_dclint_finds_no_fault_in_the_compose_file() -> None:
    program = ROOT / "tests" / "clients" / "node" / "node_modules" / ".bin" / "dclint"
    if not program.exists():
        skip_or_fail("dclint is not installed: make node-clients")
    folder = DEPLOY / "compose"
    check(
        str(program), str(folder / "compose.yaml"), "-c", str(folder / ".dclintrc.yaml"), "--max-warnings=0"
    )


def test_the_files_name_this_release() -> None:
    """A chart or a Compose file of another release asks for an image that `make image` does not build."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"\nTAG ?= {__version__}\n" in makefile
    chart = require_module("yaml").safe_load(
        (DEPLOY / "chart" / "mavera" / "Chart.yaml").read_text(encoding="utf-8")
    )
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    ours = [one["image"] for one in read_compose()["services"].values() if one["image"].startswith("mavera")]
    assert {image.partition(":")[2] for image in ours} == {__version__}
    install = (DOCS / "how-to" / "operations.md").read_text(encoding="utf-8")
    assert f"mavera_server-{__version__}-py3" in install


def test_every_image_is_pinned_and_no_secret_is_written_down() -> None:
    for name, service in read_compose()["services"].items():
        _, _, tag = service["image"].rpartition(":")
        assert re.match(r"v?\d+\.\d+", tag), name
        for variable, value in service.get("environment", {}).items():
            assert variable.endswith("_FILE") or "PASSWORD" not in variable
            assert "://" not in str(value) or "@" not in str(value), variable


def test_compose_uses_known_settings_and_gives_servers_time() -> None:
    services = read_compose()["services"]
    for name in ("server", "worker", "migrate"):
        env = services[name]["environment"]
        for variable in env:
            setting = variable.removeprefix("MAVERA_").lower()
            assert setting in Settings.__struct_fields__ or takes_file(setting.removesuffix("_file")), (
                variable
            )
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
    env = services["server"]["environment"]
    seconds = int(env["MAVERA_DRAIN_SECONDS"]) + int(env["MAVERA_SHUTDOWN_GRACE_SECONDS"]) + 5
    assert services["server"]["stop_grace_period"] == f"{seconds}s"
    assert {"postgres", "valkey"}.isdisjoint(
        name for name, service in services.items() if "ports" in service
    ), "a store is open to the world"


def test_the_secrets_are_made_once_and_closed_to_others(tmp_path: Path) -> None:
    require_program("openssl")
    script = tmp_path / "make-secrets.sh"
    shutil.copy(DEPLOY / "compose" / "make-secrets.sh", script)
    check("sh", str(script))
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    check("sh", str(script))
    assert made == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(read_compose()["secrets"])
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    environ = {"MAVERA_DATA_DIR": str(tmp_path)}
    for name in ("database_url", "key_pepper"):
        environ[f"MAVERA_{name.upper()}_FILE"] = str(tmp_path / "secrets" / name)
    assert made["postgres_password"] in load_settings(environ).database_url


def test_caddy_accepts_its_file() -> None:
    file = str(DEPLOY / "compose" / "Caddyfile")
    check(
        find_own_program("caddy"),
        "validate",
        "--config",
        file,
        "--adapter",
        "caddyfile",
        DOMAIN="api.example.com",
    )


def test_haproxy_accepts_its_file(tmp_path: Path, certificate: Path) -> None:
    program = require_program("haproxy")
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")
    config = tmp_path / "haproxy.cfg"
    config.write_text(text.replace("/etc/haproxy/certs/", str(certificate)), encoding="utf-8")
    check(program, "-c", "-f", str(config))


def test_nginx_accepts_its_file(tmp_path: Path, certificate: Path) -> None:
    program = require_program("nginx")
    text = (DEPLOY / "nginx" / "mavera.conf").read_text(encoding="utf-8")
    text = re.sub(r"/etc/nginx/certs/\S+(?=;)", str(certificate), text)
    config = tmp_path / "nginx.conf"
    head = f"pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log; events {{}}"
    config.write_text(f"{head} http {{ access_log off;\n{text}\n}}", encoding="utf-8")
    check(program, "-t", "-q", "-c", str(config), "-p", str(tmp_path))


def test_systemd_accepts_its_units(tmp_path: Path) -> None:
    program = require_program("systemd-analyze")
    for unit in (DEPLOY / "systemd").glob("mavera*.*"):
        if unit.suffix in (".service", ".timer"):
            text = unit.read_text(encoding="utf-8").replace("/opt/mavera/.venv/bin/mavera", "/bin/true")
            (tmp_path / unit.name).write_text(text, encoding="utf-8")
    names = [str(path) for path in sorted(tmp_path.iterdir())]
    assert len(names) == 4
    assert not [line for line in check(program, "verify", *names).splitlines() if "mavera" in line]


def test_systemd_waits_for_the_drain_and_the_grace() -> None:
    text = (DEPLOY / "systemd" / "mavera.service").read_text(encoding="utf-8")
    numbers = {name: int(value) for name, value in re.findall(r"([A-Za-z_]+(?:SECONDS|Sec))=(\d+)", text)}
    expected = numbers["MAVERA_DRAIN_SECONDS"] + numbers["MAVERA_SHUTDOWN_GRACE_SECONDS"] + 5
    assert numbers["TimeoutStopSec"] == expected


def test_prometheus_accepts_the_rules_and_they_fire() -> None:
    program = require_program("promtool")
    folder = DEPLOY / "prometheus"
    check(program, "check", "rules", str(folder / "alerts.yaml"))
    check(program, "test", "rules", str(folder / "alerts_test.yaml"))


def list_metrics() -> set[str]:
    listed = rows(sections(DOCS / "how-to" / "operations.md")["Metrics"])
    names = {ticked(row[0])[0] for row in listed}
    return names | {f"{name}{end}" for name in names for end in ("_bucket", "_sum", "_count")}


def test_rules_and_dashboard_use_metrics_that_exist() -> None:
    board = json.loads((DEPLOY / "grafana" / "mavera.json").read_text(encoding="utf-8"))
    texts = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    texts += re.findall(
        r"expr: [|\s]*(.+)", (DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8")
    )
    used = {name for text in texts for name in re.findall(r"\bmavera_\w+", text)}
    assert len(used) > 15
    assert used <= list_metrics()


def test_the_expressions_of_the_dashboard_can_be_parsed(tmp_path: Path) -> None:
    program = require_program("promtool")
    board = json.loads((DEPLOY / "grafana" / "mavera.json").read_text(encoding="utf-8"))
    rules = [
        {"record": f"panel:{panel['id']}:{number}", "expr": target["expr"].replace("$__rate_interval", "5m")}
        for panel in board["panels"]
        for number, target in enumerate(panel["targets"])
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    check(program, "check", "rules", str(file))


def test_no_artifact_names_a_package_index() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert "pypi" not in text.lower(), path
            assert "index-url" not in text, path
