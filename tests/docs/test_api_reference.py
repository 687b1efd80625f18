"""docs/reference/api is what `docs_site.write_reference` writes."""

from docs_site.write_reference import FOLDER, write_pages


def test_the_pages_are_those_of_the_server() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}

    assert written == write_pages(), "run .venv/bin/python -m docs_site.write_reference"
