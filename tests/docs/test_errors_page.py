"""docs/reference/errors.md against the tree in `errors.py`."""

from collections.abc import Iterator

from mavera.errors import APIError
from tests.docs.pages import DOCS, rows, sections, ticked

PAGE = DOCS / "reference" / "errors.md"


def tree(kind: type[APIError] = APIError) -> Iterator[type[APIError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


def test_the_page_lists_every_error_with_its_status_and_type() -> None:
    listed = [
        (ticked(code)[0], int(status), ticked(family)[0])
        for code, status, family, *_ in rows(sections(PAGE)["Errors"])
    ]

    shipped = {
        (kind.code, kind.status, kind.type) for kind in tree() if kind.__module__ == APIError.__module__
    }
    assert sorted(listed) == sorted(shipped)


def test_the_statuses_are_in_order() -> None:
    statuses = [int(row[1]) for row in rows(sections(PAGE)["Errors"])]

    assert statuses == sorted(statuses)
