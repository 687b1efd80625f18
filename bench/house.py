"""
How large the rooms of the house are: files, lines, and the longest functions.

    python -m bench.house [--against FOLDER] [--json]

Lines are those of the files as they are, with docstrings and comments. A function's length goes from its
`def` to its last line. `--against` reads another checkout too, and shows it beside this one.
"""

import argparse
import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.report import show

HERE = Path(__file__).parents[1]
ALL = "all"


@dataclass
class Room:
    """The modules of one folder of `src/mavera`, with the folders inside it."""

    files: int = 0
    lines: int = 0
    lengths: list[int] = field(default_factory=list)

    @property
    def longest(self) -> int:
        return max(self.lengths, default=0)

    @property
    def percentile_99(self) -> int:
        """The length that 99 of 100 functions do not exceed."""
        ordered = sorted(self.lengths)
        return ordered[max(0, -(-99 * len(ordered) // 100) - 1)] if ordered else 0


def measure_rooms(checkout: Path) -> dict[str, Room]:
    """Return the rooms of a checkout by name. Modules beside the folders are the room `.`."""
    package = checkout / "src" / "mavera"
    rooms: dict[str, Room] = defaultdict(Room)
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package).parts
        text = path.read_text(encoding="utf-8")
        for room in (rooms[inside[0] if len(inside) > 1 else "."], rooms[ALL]):
            room.files += 1
            room.lines += text.count("\n")
            room.lengths += _lengths(text)
    return dict(rooms)


def _lengths(text: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    checkouts = {"": HERE} | ({" before": options.against} if options.against else {})
    measured = {label: measure_rooms(folder) for label, folder in checkouts.items()}
    names = sorted(
        {name for rooms in measured.values() for name in rooms}, key=lambda name: (name == ALL, name)
    )
    rows = [
        {
            "room": name,
            **{
                f"{what}{label}": value
                for label, rooms in measured.items()
                for room in [rooms.get(name, Room())]
                for what, value in (
                    ("files", room.files),
                    ("lines", room.lines),
                    ("longest", room.longest),
                    ("p99", room.percentile_99),
                )
            },
        }
        for name in names
    ]
    show("the rooms of the house", rows, as_json=options.json, summary={})


if __name__ == "__main__":
    main()
