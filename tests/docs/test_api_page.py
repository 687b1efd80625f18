"""docs/reference/api.md against the operations that are served."""

from mavera.app import OPERATIONS
from tests.docs.pages import DOCS, rows, sections, ticked

SECTIONS = sections(DOCS / "reference" / "api.md")


def test_the_page_lists_every_operation_and_whether_it_needs_a_key() -> None:
    listed = {ticked(row[0])[0]: row[1] == "yes" for row in rows(SECTIONS["Routes"])}

    assert listed == {f"{op.method} {op.path}": op.needs_key for op in OPERATIONS}


def test_the_page_says_which_operations_stand_outside_the_prefix() -> None:
    outside = {ticked(row[0])[0] for row in rows(SECTIONS["Routes"]) if "Not under `/api/v1`" in row[2]}

    assert outside == {f"{op.method} {op.path}" for op in OPERATIONS if op.absolute}
