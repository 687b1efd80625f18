"""docs/how-to/models.md lists the reasons for an answer's end as the code has them."""

from mavera.models.finish_reasons import ENDINGS
from tests.docs.pages import DOCS, rows, sections, ticked


def test_the_reasons_of_the_page_are_those_of_the_code() -> None:
    sections_of_page = sections(DOCS / "how-to" / "models.md")
    table = next(
        text
        for heading, text in sections_of_page.items()
        if "Why an answer ended" in text or heading == "Why an answer ended"
    )
    told = {row[0]: set(ticked(row[1])) for row in rows(table) if len(row) == 2}
    expected = {
        ("a failure" if ending == "failed" else f"`{ending}`"): names for ending, names in ENDINGS.items()
    }
    assert {name: told[name] for name in expected} == expected
