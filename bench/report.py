"""What every bench prints: the machine, a table, or both as one JSON object."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def machine() -> dict[str, Any]:
    """Describe this machine, as far as it explains a figure."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def show(title: str, rows: Sequence[dict[str, Any]], *, as_json: bool, summary: dict[str, Any]) -> None:
    """Print `rows` as a table with `summary` under it, or everything as one JSON object."""
    if as_json:
        print(
            json.dumps(
                {"bench": title, "machine": machine(), "rows": list(rows), "summary": summary}, indent=2
            )
        )
        return
    console = Console(highlight=False)
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="right" if isinstance(rows[0][name], int | float) else "left")
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    console.print(table)
    for name, value in summary.items():
        console.print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    console.print(f"machine: {machine()}")


def show_markdown(
    title: str, rows: Sequence[dict[str, Any]], *, as_json: bool, summary: dict[str, Any]
) -> None:
    """Print `rows` as a table of Markdown for `bench/README.md`, or everything as one JSON object."""
    if as_json:
        show(title, rows, as_json=True, summary=summary)
        return
    names = list(rows[0])
    print(f"| {' | '.join(names)} |")
    print("|---" * len(names) + "|")
    for row in rows:
        print(f"| {' | '.join(_to_cell(row.get(name, '')) for name in names)} |")
    print()
    for name, value in {**summary, "machine": machine()}.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")


def _to_cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))
