"""docs/reference/analysis.md against the analysis that is sent, and against the load_catalogue of biases."""

from typing import get_args

import msgspec

from mavera.analysis.biases import load_catalogue
from mavera.core.analysis import Analysis, Emotion, FailureCode
from tests.docs.pages import DOCS, rows, sections, ticked

SECTIONS = sections(DOCS / "reference" / "analysis.md")


def test_every_member_is_listed() -> None:
    members = {field.name for field in msgspec.structs.fields(Analysis)} - {"emotion"}
    members |= {f"emotion.{field.name}" for field in msgspec.structs.fields(Emotion)}

    assert {ticked(row[0])[0] for row in rows(SECTIONS["Members"])} == members


def test_every_failure_is_listed() -> None:
    assert {ticked(row[0])[0] for row in rows(SECTIONS["Errors"])} == set(get_args(FailureCode))


def test_the_catalogue_is_printed_as_it_is() -> None:
    listed = [tuple(row) for row in rows(SECTIONS["Biases"])]

    assert listed == [
        (one.name, one.definition, one.example, one.counter_example) for one in load_catalogue().biases
    ]
