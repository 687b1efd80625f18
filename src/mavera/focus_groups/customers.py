"""
Group a customer table into personas with weights. Pure.

    customers.csv --by age,region   →   Group × 1–10: the largest groups, and one for everybody else

Each group becomes a persona. Its description has the values that its customers share, the usual values of
the other columns, and the number of customers.
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mavera.core.text import format_count
from mavera.personas.custom import DESCRIPTION_MAX, NAME_MAX, Sheet

ROWS_MAX = 1_000_000
COLUMNS_MAX = 100
OTHERS = "Others"
# A column with more values than this does not describe a group: names, numbers, addresses.
_MOST_VALUES = 12
# Columns that identify people do not go into a persona.
_PRIVATE = ("name", "mail", "phone", "id", "address", "street", "birth", "iban", "card")


class TableRefused(Exception):
    """The table cannot be grouped. The message says why, and what to change."""


@dataclass(frozen=True, slots=True)
class Group:
    """Customers that share `attributes`. `weight` is their share of the table. `usual` are other values."""

    name: str
    attributes: Mapping[str, str]
    customers: int
    weight: float
    usual: Mapping[str, str]

    def describe(self) -> dict[str, object]:
        return {
            "name": self.name,
            "attributes": dict(self.attributes),
            "customers": self.customers,
            "weight": round(self.weight, 4),
            "usual": dict(self.usual),
        }

    def to_sheet(self) -> Sheet:
        """Return the persona of the group."""
        facts = [f"{name}: {value}" for name, value in (*self.attributes.items(), *self.usual.items())]
        description = (
            f"A typical customer of this group of {self.customers:,}, {self.weight:.0%} of all customers. "
            f"{'; '.join(facts)}."
        )
        return Sheet.from_members(
            pipeline_type="advanced",
            name=self.name[:NAME_MAX],
            description=description[:DESCRIPTION_MAX],
            category="Lifestyle",
        )


def group_customers(text: str, by: Sequence[str], most: int = 10) -> list[Group]:
    """Return the groups of a table, the largest first. Raises TableRefused."""
    header, rows = _read(text)
    keys = [_find_column(header, name.strip()) for name in by if name.strip()]
    if not keys:
        raise TableRefused(f"--by names no column. Columns: {', '.join(header)}.")
    counts = Counter(tuple(row[key].strip() or "unknown" for key in keys) for row in rows)
    if len(counts) < 2:
        raise TableRefused(f"All customers have the same {', '.join(by)}. Choose other columns.")
    kept = [values for values, _ in counts.most_common(most if len(counts) <= most else most - 1)]
    others = [key for key in range(len(header)) if key not in keys and _is_telling(header[key], rows, key)]
    groups = []
    for values in kept:
        mine = [row for row in rows if tuple(row[key].strip() or "unknown" for key in keys) == values]
        attributes = {header[key]: value for key, value in zip(keys, values, strict=True)}
        groups.append(_make_group(", ".join(values), attributes, mine, header, others, len(rows)))
    if len(counts) > len(kept):
        rest = [row for row in rows if tuple(row[key].strip() or "unknown" for key in keys) not in set(kept)]
        groups.append(
            _make_group(OTHERS, {header[key]: OTHERS for key in keys}, rest, header, others, len(rows))
        )
    return groups


def _make_group(
    name: str,
    attributes: Mapping[str, str],
    mine: Sequence[Sequence[str]],
    header: Sequence[str],
    others: Sequence[int],
    total: int,
) -> Group:
    usual = {}
    for key in others:
        value, number = Counter(row[key].strip() for row in mine).most_common(1)[0]
        if value and number * 2 >= len(mine):
            usual[header[key]] = value
    return Group(f"Customers: {name}", attributes, len(mine), len(mine) / total, usual)


def _read(text: str) -> tuple[list[str], list[list[str]]]:
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:8192], ",;\t|")
    except csv.Error:
        dialect = csv.excel
    lines = csv.reader(io.StringIO(text), dialect)
    try:
        header = [name.strip() for name in next(lines)]
        rows = []
        for number, row in enumerate(lines, 2):
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise TableRefused(
                    f"line {number} has {format_count(len(row), 'cell')}, and the header has {len(header)}."
                )
            rows.append(row)
            if len(rows) > ROWS_MAX:
                raise TableRefused(f"the table has more than {ROWS_MAX:,} rows. Draw a sample of it.")
    except StopIteration:
        raise TableRefused("the file is empty.") from None
    except csv.Error as error:
        raise TableRefused(f"the file is not valid CSV: {error}.") from error
    if len(header) > COLUMNS_MAX or len(set(header)) != len(header):
        raise TableRefused(f"the header needs at most {COLUMNS_MAX} columns, each with a name of its own.")
    if not rows:
        raise TableRefused("the table has no customers.")
    return header, rows


def _find_column(header: Sequence[str], name: str) -> int:
    for number, column in enumerate(header):
        if column.casefold() == name.casefold():
            return number
    raise TableRefused(f"there is no column '{name}'. Columns: {', '.join(header)}.")


def _is_telling(name: str, rows: Sequence[Sequence[str]], key: int) -> bool:
    if any(word in name.casefold() for word in _PRIVATE):
        return False
    return 1 < len({row[key].strip() for row in rows}) <= _MOST_VALUES
