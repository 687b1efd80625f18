"""
Every code sample of the pages runs against a live server with the scripted model.

A fence says what its text is: `python`, `javascript` and `sh` run, `json`, `yaml` and `toml` are read, and
`text` is something to look at. What cannot run on one machine, such as a cluster's commands, is
a `console` fence.
"""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from docs_site.record_examples import World, open_world

from mavera.api.http.descriptions import load_descriptions
from mavera.focus_groups.study_file import read_study_file
from tests.docs.pages import DOCS, PAGES, ROOT
from tests.support.requirements import require_program, skip_or_fail

_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_KINDS = {"python", "javascript", "sh", "json", "yaml", "toml", "sql", "text", "console", "csv"}
_OF_THE_READER = [
    ROOT / "README.md",
    *sorted(set(DOCS.rglob("*.md")) - set((DOCS / "decisions").glob("*.md"))),
]
NODE_MODULES = ROOT / "tests" / "clients" / "node" / "node_modules"
# A plain server has no file that a tool made, and a whole study has no cell to retry.
_WITHOUT_OBJECT = ("/media/", "/retry")
# These end the workspace that all samples use, or return a file that OpenAI's client does not read.
_NOT_RUN = re.compile(r'delete\(\s*"/workspaces|DELETE "[^"]*/api/v1/workspaces|"(?:[^"]*/api/v1)?/export"')


@dataclass(frozen=True)
class Sample:
    """A fenced block, and where it stands."""

    page: Path
    number: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)} {self.number}"


def list_samples(*kinds: str) -> list[Sample]:
    return [
        Sample(page, number, kind, text)
        for page in _OF_THE_READER
        for number, (kind, text) in enumerate(_FENCE.findall(page.read_text(encoding="utf-8")))
        if not kinds or kind in kinds
    ]


def list_runnable(kind: str) -> list[Sample]:
    """Return the samples to run. Those that end an object come last."""
    found = [
        sample
        for sample in list_samples(kind)
        if not any(part in sample.text for part in _WITHOUT_OBJECT) and not _NOT_RUN.search(sample.text)
    ]
    return sorted(found, key=lambda sample: "delete" in sample.text.lower())


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with open_world() as world:
        yield world


@pytest.fixture
def environ(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return what a reader has set, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAVERA_API_KEY", world.client.headers["authorization"].removeprefix("Bearer "))
    monkeypatch.setenv("MAVERA_BASE_URL", f"{str(world.client.base_url).rstrip('/')}/api/v1")
    return dict(os.environ)


def place_in(world: World, text: str) -> str:
    """Return the sample with the ids of objects that this world has."""
    examples = load_descriptions()["parameters"]
    text = text.replace(
        examples["ids"], f"{world.ids['focus_group_id']},{world.ids['second_focus_group_id']}"
    )
    text = text.replace(f"/personas/{examples['persona_id']}", f"/personas/{world.ids['persona_id']}")
    workspace = examples["workspace_id"]
    text = text.replace(
        f"/operator/workspaces/{workspace}", f"/operator/workspaces/{world.ids['other_workspace_id']}"
    )
    for name in ("focus_group_id", "key_id", "workspace_id", "share_id", "request_id"):
        text = text.replace(examples[name], world.ids[name])
    return text.replace("http://127.0.0.1:8000", str(world.client.base_url).rstrip("/"))


def make_victims(world: World, text: str) -> str:
    """Return the sample with a fresh object in place of the one that it ends."""
    for maker, name in (
        ("create_persona", "persona_id"),
        ("create_api_key", "key_id"),
        ("create_share", "share_id"),
        ("create_focus_group", "focus_group_id"),
        ("create_workspace", "other_workspace_id"),
    ):
        if world.ids[name] in text and re.search(r"delete|/cancel", text, re.IGNORECASE):
            return text.replace(world.ids[name], world.make(maker))
    return text


@pytest.mark.parametrize("sample", list_samples(), ids=str)
def test_a_sample_says_what_it_is_and_can_be_read(sample: Sample) -> None:
    assert sample.kind in _KINDS, "name the language of the fence"
    match sample.kind:
        case "json" if "…" not in sample.text:
            json.loads(sample.text)
        case "yaml":
            documents = list(yaml.safe_load_all(sample.text))
            if "study" in (documents[0] or {}):
                assert read_study_file(sample.text).study.questions
        case "toml":
            tomllib.loads(sample.text)
        case "python":
            compile(sample.text, str(sample), "exec")


@pytest.mark.proof
@pytest.mark.parametrize("sample", list_runnable("python"), ids=str)
def test_a_python_sample_runs(sample: Sample, world: World, environ: dict[str, str]) -> None:
    code = compile(make_victims(world, place_in(world, sample.text)), str(sample), "exec")

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {"__name__": "__main__"})

    assert printed.getvalue() or "print(" not in sample.text


@pytest.mark.proof
@pytest.mark.parametrize(
    "page", sorted({sample.page for sample in list_samples("sh")}), ids=lambda page: page.stem
)
def test_the_shell_samples_of_a_page_run_one_after_another(
    page: Path, world: World, environ: dict[str, str], tmp_path: Path
) -> None:
    require_program("curl")
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    environ |= {"MAVERA_MODEL_BACKEND": "scripted", "MAVERA_DATA_DIR": str(tmp_path / "data")}
    for sample in [sample for sample in list_runnable("sh") if sample.page == page]:
        text = make_victims(world, place_in(world, sample.text))
        text = re.sub(r"\bcurl ", "curl --silent --show-error --fail-with-body ", text)

        done = subprocess.run(
            ["sh", "-ec", text],
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
        )

        assert done.returncode == 0, f"{sample}: {done.stdout}{done.stderr}"


@pytest.mark.proof
@pytest.mark.parametrize("sample", list_runnable("javascript"), ids=str)
def test_a_javascript_sample_runs(
    sample: Sample, world: World, environ: dict[str, str], tmp_path: Path
) -> None:
    if not (NODE_MODULES / "openai").exists():
        skip_or_fail("run `make node-clients` for the samples in JavaScript")
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "sample.mjs").write_text(make_victims(world, place_in(world, sample.text)), encoding="utf-8")
    node = shutil.which("node")
    assert node

    done = subprocess.run(
        [node, "sample.mjs"],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_samples_in_each_language() -> None:
    assert {"python", "javascript", "sh"} <= {sample.kind for sample in list_samples()}
    assert len(PAGES) > len(_OF_THE_READER)
