"""
Print tables that can be read at 80 columns.

Ids and figures are never cut. Of a text, one line is shown, and its end is cut. A column that is only nice to
have is left out if there is no room for it; `--json` prints all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

_GAP = 2


@dataclass(frozen=True, slots=True)
class Shown:
    """
    A column. `is_text` lets its end be cut, `is_extra` lets it be left out.

    Of several extra columns, the last one is left out first. A text keeps `least` characters while there is
    an extra column to leave out.
    """

    title: str
    is_text: bool = False
    is_extra: bool = False
    is_number: bool = False
    least: int = 16


def print_table(columns: Sequence[Shown], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Print the rows below their titles, or the sentence `empty` if there is none."""
    console = Console()
    if not rows:
        console.print(empty, soft_wrap=True, highlight=False)
        return
    kept = choose_columns(columns, rows, console.width)
    widths = _share_width(columns, rows, kept, console.width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for at, width in zip(kept, widths, strict=True):
        justify: JustifyMethod = "right" if columns[at].is_number else "left"
        table.add_column(columns[at].title, no_wrap=True, overflow="ellipsis", width=width, justify=justify)
    for row in rows:
        table.add_row(*(Text(row[at]) for at in kept))
    console.print(table)


def choose_columns(columns: Sequence[Shown], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the places of the columns that fit into `width`, without as few extra ones as possible."""
    kept = list(range(len(columns)))
    while _total_width(columns, rows, kept) > width:
        extra = [at for at in kept if columns[at].is_extra]
        if not extra:
            break
        kept.remove(extra[-1])
    return kept


def _share_width(
    columns: Sequence[Shown], rows: Sequence[Sequence[str]], kept: Sequence[int], width: int
) -> list[int]:
    """Return the width of each column: what ids and figures need, and the rest for texts, left to right."""
    needed = [_measure(columns[at], rows, at) for at in kept]
    least = [
        min(full, columns[at].least) if columns[at].is_text else full
        for at, full in zip(kept, needed, strict=True)
    ]
    spare = max(0, width - sum(least) - _GAP * len(kept))
    shared = []
    for full, low in zip(needed, least, strict=True):
        more = min(full - low, spare)
        shared.append(low + more)
        spare -= more
    return shared


def _total_width(columns: Sequence[Shown], rows: Sequence[Sequence[str]], kept: Sequence[int]) -> int:
    needed = 0
    for at in kept:
        widest = _measure(columns[at], rows, at)
        needed += (min(widest, columns[at].least) if columns[at].is_text else widest) + _GAP
    return needed


def _measure(column: Shown, rows: Sequence[Sequence[str]], at: int) -> int:
    return max(cell_len(column.title), *(cell_len(row[at]) for row in rows))
