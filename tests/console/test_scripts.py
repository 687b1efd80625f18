"""The types of the console's scripts, which JSDoc states and TypeScript checks."""

import re
import subprocess
from pathlib import Path

from mavera.console.assets import Assets
from tests.support.requirements import require_program, skip_or_fail

HERE = Path(__file__).parents[1] / "browser"
ROOT = HERE.parents[1]
COMPILER = HERE / "node_modules" / "typescript" / "bin" / "tsc"
TEMPLATES = sorted((ROOT / "src/mavera/console/templates").rglob("*.html"))


def test_the_types_of_the_scripts_hold() -> None:
    node = require_program("node")
    if not COMPILER.exists():
        skip_or_fail("TypeScript is not installed: make node-clients")

    done = subprocess.run([node, COMPILER, "-p", HERE], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_no_template_uses_what_the_policy_forbids() -> None:
    """htmx evaluates these, and the policy then leaves a dead control."""
    forbidden = re.compile(
        r"hx-on|hx-csp|js:|hx-vals=.javascript|hx-trigger=\"[^\"]*\[|\sstyle=|<style|\son[a-z]+="
    )

    assert len(TEMPLATES) > 10
    for template in TEMPLATES:
        found = forbidden.search(template.read_text(encoding="utf-8"))
        assert found is None, f"{template.name}: {found and found[0]}"


def test_the_scripts_and_styles_are_small() -> None:
    assets = Assets()
    sizes = {name: len(assets.get(name).compressed) for name in assets.names if not name.endswith(".txt")}

    assert sum(sizes.values()) < 120_000, sizes
