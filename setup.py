"""Put the documentation's pages into the wheel, as `mavera/manual`; all else stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

DOCS = Path(__file__).parent / "docs"
SECTIONS = ("tutorial", "how-to", "reference", "explanation")


class BuildWithManual(build_py):
    """Copy the Markdown of docs/ beside the modules. An editable install reads docs/ itself."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        manual = Path(self.build_lib) / "mavera" / "manual"
        for page in [DOCS / "index.md", *(page for name in SECTIONS for page in (DOCS / name).rglob("*.md"))]:
            target = manual / page.relative_to(DOCS)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page, target)


setup(cmdclass={"build_py": BuildWithManual})
