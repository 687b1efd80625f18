"""docs/reference/settings.md against `Settings`."""

import tomllib
from typing import Any

import msgspec
import pytest

from mavera.settings import CLIENT_NAMES, PREFIX, Settings
from tests.docs.pages import DOCS, rows, sections, ticked

PAGE = DOCS / "reference" / "settings.md"
ROWS = {ticked(row[0])[0]: row for row in rows(PAGE.read_text(encoding="utf-8"))}
FIELDS = msgspec.structs.fields(Settings)

each_field = pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)


def variable(field: Any) -> str:
    return f"{PREFIX}{field.name.upper()}"


def test_the_page_lists_every_setting_in_the_order_of_the_code() -> None:
    assert list(ROWS) == [variable(field) for field in FIELDS]


@each_field
def test_a_setting_is_listed_with_its_name_in_the_file_and_its_default(field: Any) -> None:
    _, name, _, default, meaning = ROWS[variable(field)]

    assert ticked(name) == [field.name]
    assert meaning
    if field.default is None:
        assert default == "not set"
    else:
        [written] = ticked(default)
        expected = field.default if isinstance(field.default, bool | int | float) else str(field.default)
        assert tomllib.loads(f"value = {written}")["value"] == expected


@each_field
def test_a_setting_is_listed_with_what_it_takes(field: Any) -> None:
    takes = ROWS[variable(field)][2]
    kind: Any = msgspec.inspect.type_info(field.type)

    match kind:
        case msgspec.inspect.LiteralType(values=values):
            assert set(ticked(takes)) == set(values)
        case msgspec.inspect.BoolType():
            assert ticked(takes) == ["true", "false"]
        case msgspec.inspect.IntType(ge=least, le=most):
            assert takes == f"{least} to {most}"
        case msgspec.inspect.FloatType(gt=above, ge=least, le=most):
            assert takes == (f"{least} to {most}" if above is None else f"over {above} to {most}")
        case _:
            assert takes


def test_the_names_that_are_no_setting_are_named() -> None:
    named = set(ticked(sections(PAGE)["Variables that are not settings"]))

    assert named >= {f"{PREFIX}{name.upper()}" for name in (*CLIENT_NAMES, "config")}
