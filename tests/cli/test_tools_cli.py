"""`mavera tools`: documents into the index and out again, and who may use which tool."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mavera.cli.tools import app
from mavera.errors import ConfigurationError
from tests.conftest import Serve
from tests.support.mcp_shop import STDIO
from tests.support.tool_runs import calls, says, search
from tests.support.upstream_stub import Upstream


def run(data_dir: Path, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--data-dir", str(data_dir)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_folder_is_indexed_listed_and_removed(tmp_path: Path) -> None:
    folder = tmp_path / "handbook"
    (folder / "deep").mkdir(parents=True)
    (folder / "returns.md").write_text("# Returns\n\nWithin 45 days.")
    (folder / "deep" / "empty.txt").write_text("")
    (folder / ".hidden.md").write_text("A secret.")
    data_dir = tmp_path / "data"

    first = run(data_dir, "index", "add", str(folder))
    again = run(data_dir, "index", "add", str(folder))
    [listed] = json.loads(run(data_dir, "index", "list", "--json"))
    run(data_dir, "index", "remove", "index:handbook")

    assert first.startswith("1 added or changed, 0 unchanged, 1 without text")
    assert again.startswith("0 added or changed, 1 unchanged")
    assert (listed["url"], listed["title"]) == ("index:handbook/returns.md", "Returns")
    assert json.loads(run(data_dir, "index", "list", "--json")) == []


def test_a_name_that_no_tool_has_is_refused_and_changes_nothing(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = Path(serve().settings.data_dir)
    path = tmp_path / "mcp.toml"
    path.write_text(STDIO)
    monkeypatch.setenv("MAVERA_MCP_CONFIG", str(path))
    run(data_dir, "allow", "tavily_search", "shop__find_price")
    refused = {
        "nosuch": "no tool 'nosuch'",
        "tavily_serch": "Did you mean tavily_search?",
        "shpo__find_price": "no tool 'shpo__find_price'",
        "shop__": "no tool",
        "all": "'all' must stand alone",
        "none": "'none' must stand alone",
    }
    for name, message in refused.items():
        with pytest.raises(ConfigurationError, match=re.escape(message)):
            run(data_dir, "allow", "generateImage", name)

    # `list` starts the server, whose program's stderr has to be a real one.
    monkeypatch.delenv("MAVERA_MCP_CONFIG")
    allowed = {row["name"] for row in json.loads(run(data_dir, "list", "--json")) if row["allowed"]}
    assert allowed == {"tavily_search"}


def test_tools_of_mcp_servers_are_listed_and_servers_that_are_away(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = Path(serve().settings.data_dir)
    path = tmp_path / "mcp.toml"
    path.write_text(f'{STDIO}\n[servers.crm]\nurl = "http://127.0.0.1:9/mcp"\ntimeout_seconds = 1.0\n')
    monkeypatch.setenv("MAVERA_MCP_CONFIG", str(path))
    run(data_dir, "allow", "shop__find_price", "crm__*")

    # In a process of its own: the program's stderr has to be a real one.
    mavera = Path(sys.executable).with_name("mavera")
    command: list[str | Path] = [mavera, "tools", "list", "--json", "--data-dir"]
    environ = {**os.environ, "MAVERA_MCP_CONFIG": str(path)}
    output = subprocess.run([*command, data_dir], env=environ, stdout=subprocess.PIPE, check=True).stdout

    listed = {row["name"]: row for row in json.loads(output)}
    shown = {name: (row["provider"], row["allowed"]) for name, row in listed.items() if "__" in name}
    assert shown == {
        "shop__find_price": ("mcp:shop", True),
        "shop__break_down": ("mcp:shop", False),
        "crm__*": (None, True),
    }
    assert "cannot be reached" in listed["crm__*"]["to_set_up"]


def test_what_a_workspace_may_use_is_set_and_shown(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAVERA_SEARXNG_URL", "http://127.0.0.1:1")
    data_dir = Path(serve().settings.data_dir)

    run(data_dir, "allow", "tavily_search")
    listed = {row["name"]: row for row in json.loads(run(data_dir, "list", "--json"))}
    run(data_dir, "allow", "all")
    after = json.loads(run(data_dir, "list", "--json"))

    assert listed["tavily_search"]["provider"] == "searxng"
    assert [name for name, row in listed.items() if row["allowed"]] == ["tavily_search"]
    assert "MAVERA_RUNWAY_API_KEY" in listed["generateVideo"]["to_set_up"]
    assert all(row["allowed"] for row in after)
    assert json.loads(run(data_dir, "calls", "--json")) == []


def test_ask_says_what_ran_and_where_its_sources_are(tmp_path: Path, upstream: Upstream) -> None:
    (tmp_path / "returns.md").write_text("# Returns\n\nA jacket may be returned within 45 days.")
    run(tmp_path / "data", "index", "add", str(tmp_path / "returns.md"))
    upstream.script = [calls(search("return a jacket")), says("45 days [1].")]
    mavera = Path(sys.executable).with_name("mavera")
    environ = {"MAVERA_UPSTREAM_BASE_URL": upstream.url, "MAVERA_UPSTREAM_MODEL": "m"}

    asked = subprocess.run(
        [mavera, "ask", "--tools", "--data-dir", tmp_path / "data", "How many days?"],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
    )

    assert asked.stdout == "45 days [1].\n"
    assert "tavily_search (completed" in asked.stderr
    assert "[1] Returns · index:returns.md" in asked.stderr
