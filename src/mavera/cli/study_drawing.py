"""
Draw the results of a study for a terminal: bars with intervals, figures by persona, banner tables. Pure.

    Oat drink concept test   COMPLETED · 200 respondents · 3 personas
    q1  Would you try this drink?
      Yes  ████████████░░░░░░░░░░░░  51 %   30–72
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from mavera.core.text import format_count

WIDTH = 30
_SCALARS = (
    ("score", "NPS", "{:+.0f}"),
    ("mean", "mean", "{:.2f}"),
    ("median", "median", "{:.1f}"),
    ("std_dev", "standard deviation", "{:.2f}"),
)
_SHARES = ("distribution", "nets", "boxes", "best", "worst", "chosen_when_shown")
_TITLES = {
    "nets": "nets",
    "boxes": "boxes",
    "best": "best",
    "worst": "worst",
    "chosen_when_shown": "chosen when shown",
}
_MOST_VERBATIMS = 5
# Ten personas in four rounds.
_MOST_TURNS = 40
_SHARE_KINDS = frozenset({"answer", "missing", "net", "box", "place", "best", "worst", "level"})


def draw_results(results: dict[str, Any]) -> Iterator[RenderableType]:
    """Yield what to print of the results of a study."""
    sample = results["sample"]
    yield Text(results["name"], style="bold")
    yield Text(
        f"{results['status']} · {format_count(sample['respondents'], 'respondent')} · "
        f"{format_count(sample['personas'], 'persona')} · model {results['method']['model']} · synthetic",
        style="dim",
    )
    for result in results["results"]:
        yield Text("")
        yield from draw_question(result)
    for table in results["tables"]:
        yield Text("")
        yield draw_table(table)
    if "human" in results:
        yield Text("")
        yield from draw_human(results)
    yield Text("")
    for notice in results["notices"]:
        yield Text(notice, style="yellow")


def draw_question(result: dict[str, Any]) -> Iterator[RenderableType]:
    """Yield the bars and the figures of a question."""
    heading = Text(f"{result['question_id']}  ", style="bold")
    heading.append(result["text"], style="bold")
    heading.append(f"   base {result['base']}", style="dim")
    yield heading
    yield from _draw_figures(result)
    for row in result.get("rows", []):
        yield Text(f"  {row['text']}", style="italic")
        yield from _draw_figures(row)
    if result.get("model"):
        yield from _draw_model(result["model"])
    verbatims = Counter(verbatim["text"] for verbatim in result.get("verbatims", []))
    for text, times in list(verbatims.items())[:_MOST_VERBATIMS]:
        yield Text(f"  “{text}”{f' ({times} times)' if times > 1 else ''}")
    yield from _draw_discussion(result)
    for theme in result.get("themes", []):
        yield Text(f"  theme: {theme['name']} ({theme['verbatims']})", style="cyan")
    baseline = (result.get("baseline") or {}).get("no_persona") or {}
    shown = [
        f"{title} {form.format(baseline[name])}" for name, title, form in _SCALARS[:2] if name in baseline
    ]
    if shown:
        yield Text(f"  without a persona: {', '.join(shown)}", style="dim")
    for flag in result.get("flags", []):
        yield Text(f"  ! {flag}", style="yellow")


def _draw_discussion(result: dict[str, Any]) -> Iterator[RenderableType]:
    """Yield the rounds of a discussion, who changed their position, and who left."""
    names = {turn["persona_id"]: turn["name"] for turn in result.get("transcript", [])}
    for number, turn in enumerate(result.get("transcript", [])[:_MOST_TURNS]):
        if number == 0 or turn["round"] != result["transcript"][number - 1]["round"]:
            yield Text(f"  round {turn['round']}", style="dim")
        line = Text(f"  {_name_speaker(turn)}: ", style="bold")
        line.append(f"“{turn['text']}”", style="not bold")
        yield line
    left = len(result.get("transcript", [])) - _MOST_TURNS
    if left > 0:
        yield Text(f"  {left} more turns are in the JSON results", style="dim")
    moves = result.get("moved", [])
    for move in moves:
        if move["moved"]:
            yield Text(f"  moved: {_describe_move(move, names)}", style="cyan")
    if moves and not any(move["moved"] for move in moves):
        yield Text("  nobody changed their position", style="dim")
    if result.get("moved_missing"):
        yield Text(f"  who moved is unknown: {result['moved_missing']}", style="dim")
    for one in result.get("left_discussion", []):
        yield Text(f"  {_name_speaker(one)} left in round {one['round']}: {one['reason']}", style="yellow")


def _describe_move(move: dict[str, Any], names: dict[str, str]) -> str:
    """Return who moved, towards whom, and what the reading rests on."""
    who = _name_speaker({**move, "name": names[move["persona_id"]]})
    towards = f" towards {names[move['towards']]}" if move.get("towards") else ""
    if move["read_by"] == "verdict":
        return f"{who}{towards}, from “{move['stances'][0]}” to “{move['stances'][1]}”"
    return f"{who}{towards}, by similarity ({move['similarity']:.2f} to the first answer)"


def _name_speaker(member: dict[str, Any]) -> str:
    group = ", ".join(member[name] for name in ("cell", "condition") if member.get(name))
    return f"{member['name']} ({group})" if group else str(member["name"])


def _draw_figures(result: dict[str, Any]) -> Iterator[RenderableType]:
    scalars = [
        f"{title} {form.format(result[name])}"
        for name, title, form in _SCALARS
        if result.get(name) is not None
    ]
    interval = result.get("simulation_interval")
    if scalars:
        line = "  " + "   ".join(scalars)
        if interval is not None and result.get("interval_of") in (None, "score", "mean"):
            line += f"   interval {interval[0]:.3g} to {interval[1]:.3g}"
        yield Text(line)
    for member in _SHARES:
        shares = result.get(member)
        if not shares:
            continue
        if member in _TITLES:
            yield Text(f"  {_TITLES[member]}", style="dim")
        yield _draw_bars(shares, result.get("intervals") or {})


def _draw_bars(shares: dict[str, float], intervals: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(max_width=40)
    for label, share in shares.items():
        interval = intervals.get(label)
        between = "" if not interval else f"{100 * interval[0]:.0f}–{100 * interval[1]:.0f}"
        table.add_row(f"  {label}", draw_bar(share, interval), f"{share:.0%}", Text(between, style="dim"))
    return table


def draw_bar(share: float, interval: tuple[float, float] | None = None) -> Text:
    """Return a bar for a share of 0 to 1. The interval is marked by a lighter stretch."""
    filled = round(share * WIDTH)
    bar = Text("█" * filled + "·" * (WIDTH - filled), style="blue")
    if interval:
        low, high = (min(WIDTH, max(0, round(bound * WIDTH))) for bound in interval)
        bar.stylize("cyan", low, high)
    return bar


def _draw_model(model: dict[str, Any]) -> Iterator[RenderableType]:
    """Yield a table for each list of a model: items, attributes with their levels, demand."""
    for name, rows in model.items():
        if not (isinstance(rows, list) and rows and isinstance(rows[0], dict)):
            continue
        yield _draw_estimates(f"  {name.replace('_', ' ')}", rows)
        for row in rows:
            if isinstance(row.get("levels"), list):
                yield _draw_estimates(f"  levels of {row[next(iter(row))]}", row["levels"])


def _draw_estimates(title: str, rows: list[dict[str, Any]]) -> Table:
    columns = [column for column in rows[0] if not isinstance(rows[0][column], list)]
    table = Table(*(column.replace("_", " ") for column in columns), title=title, title_justify="left")
    for row in rows:
        table.add_row(*(_format_estimate(column, row.get(column)) for column in columns))
    return table


def _format_estimate(column: str, value: Any) -> str:
    """Return a figure with its interval, or a text."""
    if not isinstance(value, dict):
        if value is None:
            return ""
        return _format_number(column, value) if isinstance(value, float) else str(value)
    if value.get("value") is None:
        return "–"
    low, high = value.get("simulation_interval") or (value["value"],) * 2
    between = f" ({_format_number(column, low)} to {_format_number(column, high)})" if low < high else ""
    return f"{_format_number(column, value['value'])}{between}"


def _format_number(column: str, value: float) -> str:
    """Return a share as per cent, an amount of money of some size without decimals, or two decimals."""
    if column.startswith(("importance", "share")):
        return f"{value:.0%}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def draw_human(results: dict[str, Any]) -> Iterator[RenderableType]:
    """Yield the figures of real people beside those of the simulation, and both combined."""
    human = results["human"]
    texts = {(one["question_id"], None): one["text"] for one in results["results"]}
    texts |= {
        (one["question_id"], row["row_id"]): row["text"]
        for one in results["results"]
        for row in one.get("rows", [])
    }
    yield Text(f"Answers of {format_count(human['people'], 'person', 'people')}", style="bold")
    for estimate in human["estimates"]:
        question, part = estimate["question_id"], estimate.get("row_id")
        yield Text("")
        heading = Text(f"{question}  {texts.get((question, part), '')}", style="bold")
        heading.append(f"   base {estimate['people']} people", style="dim")
        yield heading
        table = Table("", "simulation", "people", "95% interval", "combined", "95% interval")
        for figure in estimate["figures"]:
            kind = figure["kind"]
            table.add_row(
                figure["label"],
                format_figure(kind, figure["simulation"]),
                format_figure(kind, figure["people"]),
                _format_range(kind, figure["people_interval"]),
                format_figure(kind, figure["rectified"]),
                _format_range(kind, figure["rectified_interval"]),
            )
        yield table
        share = estimate["share_of_simulation"]
        if share:
            line = f"  The simulation's predictions count {share:.0%} in the combined shares."
            yield Text(line, style="dim")
        if estimate["small_base"]:
            yield Text("  ! fewer than 30 people", style="yellow")
        if estimate.get("notice"):
            yield Text(f"  ! {estimate['notice']}", style="yellow")
    if not human["estimates"]:
        yield Text("No question has the answers of three people.", style="yellow")
    yield Text("")
    yield Text(
        "The people must be a random sample of the audience. The file cannot show this.", style="yellow"
    )


def draw_comparison(compared: dict[str, Any]) -> Iterator[RenderableType]:
    """Yield a table for each question that several studies share. Letters name the columns exceeded."""
    names = [f"{one['name']} {one['letter']}" for one in compared["studies"]]
    for one in compared["studies"]:
        yield Text(f"{one['letter']}  {one['name']} · {one['id']} · model {one['model']}", style="dim")
    for question in compared["questions"]:
        row = f" · {question['row_text']}" if question.get("row_text") else ""
        table = Table("", *names, title=f"{question['text']}{row}", title_justify="left")
        for line in question["lines"]:
            pairs = zip(line["values"], line["letters"], strict=True)
            shown = [f"{format_figure(line['kind'], value)} {letters}".rstrip() for value, letters in pairs]
            table.add_row(line["label"], *shown)
        yield table
    if compared["not_compared"]:
        yield Text(f"Not compared: {', '.join(compared['not_compared'])}", style="dim")
    for notice in compared["notices"]:
        yield Text(notice, style="yellow")


def draw_table(table: dict[str, Any]) -> Table:
    """Return a banner table. Letters name the columns of the same banner that a figure exceeds."""
    columns: dict[str, str] = {}
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for cell in table["cells"]:
        columns.setdefault(cell["column"], cell["letter"])
        rows.setdefault(cell["row"], {})[cell["column"]] = cell
    title = f"{table['row']} by {table['banner']}"
    headings = (f"{name} {letter}".strip() for name, letter in columns.items())
    # A long name breaks over lines. It is never cut, because the letter stands at its end.
    drawn = Table("", *(Column(heading, overflow="fold") for heading in headings), title=title)
    drawn.title_justify = "left"
    drawn.add_row("base", *(str(table["bases"].get(name, "")) for name in columns), style="dim")
    for label, cells in rows.items():
        drawn.add_row(label, *(_format_cell(cells.get(name)) for name in columns))
    return drawn


def _format_cell(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "–"
    return f"{format_figure(cell['kind'], cell['value'])} {cell.get('letters', '')}".rstrip()


def format_figure(kind: str, value: float | None) -> str:
    """Return a share as per cent, a score without decimals, and other figures with two decimals."""
    if value is None:
        return "–"
    if kind in _SHARE_KINDS:
        return f"{value:.0%}"
    return f"{value:+.0f}" if kind == "score" else f"{value:.2f}"


def _format_range(kind: str, span: tuple[float, float]) -> str:
    if kind in _SHARE_KINDS:
        return f"{100 * span[0]:.0f}–{100 * span[1]:.0f}"
    return f"{format_figure(kind, span[0])} to {format_figure(kind, span[1])}"
