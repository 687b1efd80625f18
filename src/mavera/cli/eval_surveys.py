"""Run `mavera eval surveys`: compare simulated surveys with the answers of real people."""

import asyncio
import importlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from mavera.accounts.principal import Principal
from mavera.cli.options import AsJSON, DataDir, ModelOption, print_json
from mavera.cli.progress import wait_until_ready
from mavera.core.events import Event
from mavera.core.text import format_count
from mavera.core.turn import Turn
from mavera.errors import ConfigurationError
from mavera.evaluation.asking import AnswerFile
from mavera.evaluation.plot import Figure, draw_svg
from mavera.extras import describe_missing_extra
from mavera.focus_groups.desk import digest_model
from mavera.focus_groups.elicit import Elicitor
from mavera.models.config import DEFAULT_NAME
from mavera.models.named import NamedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.personas.persona import Persona
from mavera.runs.loop import Runner
from mavera.services import open_named_model
from mavera.settings import Settings, load_settings

if TYPE_CHECKING:
    from mavera.evaluation.survey_asking import AnySurvey, Simulation
    from mavera.evaluation.surveys import Cast, Report

_TITLES = {
    "personas": "personas",
    "no_persona": "no persona",
    "uniform": "uniform",
    "mode": "mode only",
    "halves": "two halves",
}


def surveys(
    data: Annotated[Path, typer.Option(help="The folder with a folder for each survey.")],
    surveys: Annotated[
        str | None, typer.Option(help="Use only these surveys: names of folders, separated by commas.")
    ] = None,
    items: Annotated[
        int | None,
        typer.Option(min=1, help="Use only this many items of each survey, spread evenly over it."),
    ] = None,
    personas: Annotated[
        int, typer.Option(min=1, help="The largest number of personas for each age group and gender.")
    ] = 1,
    tasks: Annotated[
        int, typer.Option(min=8, help="The number of tasks of each survey of choices, drawn by a seed.")
    ] = 30,
    calibrate: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=50,
            help="Learn a correction from this many items of people, and measure the other items.",
        ),
    ] = None,
    people_only: Annotated[
        bool, typer.Option("--people-only", help="Ask no model. Print the figures of the people.")
    ] = False,
    answers: Annotated[
        Path | None, typer.Option(help="Save the answers in this file, and continue from it.")
    ] = None,
    at_once: Annotated[
        int, typer.Option(min=1, max=64, help="The personas to ask at a time. A large server can take more.")
    ] = 1,
    model: ModelOption = DEFAULT_NAME,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the total variation distances into this SVG file.")
    ] = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Compare simulated answers to the questions of real surveys with the answers of the people."""
    read = _load("survey_data")
    loaded = read.load_surveys(data, [name for one in (surveys or "").split(",") if (name := one.strip())])
    questioned = [_load("surveys").limit_items(one, items) for one in loaded if isinstance(one, read.Survey)]
    choices = [one for one in loaded if not isinstance(one, read.Survey)]

    def simulate(work: _Work) -> "Simulation":
        if people_only:
            empty: Simulation = _load("survey_asking").Simulation()
            return empty
        return asyncio.run(_simulate(work, load_settings(data_dir=data_dir), model, answers, at_once))

    report, described = _measure(questioned, choices, personas, tasks, calibrate, simulate)
    if plot is not None:
        _write_plot(plot, report)
    if as_json:
        print_json(described)
    else:
        _print(report, described)


def _measure(
    questioned: Sequence[Any],
    choices: Sequence[Any],
    personas: int,
    tasks: int,
    calibrate: int | None,
    simulate: Callable[["_Work"], "Simulation"],
) -> tuple[Any, dict[str, Any]]:
    """Return the report about the surveys, and all figures by their names."""
    compare, panel = _load("surveys"), _load("survey_panel")
    library = PersonaLibrary.load()
    casts = {one.name: panel.choose_personas(one, library, personas) for one in questioned}
    everyone = panel.choose_everyone(library, personas)
    cast = {name: _list_personas(groups) for name, groups in casts.items()}
    cast |= {one.name: everyone for one in choices}
    simulation = simulate(_Work((*questioned, *choices), cast, tasks))
    report = compare.make_report(questioned, simulation, casts)
    described = compare.describe(report)
    worths = [compare.report_choices(one, simulation, everyone, tasks) for one in choices]
    described["choices"] = {one.survey: compare.describe_choices(one) for one in worths}
    if calibrate is not None:
        described["calibration"] = _calibrate(questioned, simulation, casts, calibrate)
    return report, described


def _calibrate(
    surveys: Sequence[Any], simulation: "Simulation", casts: Mapping[str, "Cast"], given: int
) -> dict[str, Any]:
    """Return the figures of a calibration, by source."""
    module = _load("survey_calibration")
    sources = {"personas": casts, "no_persona": None}
    return {
        "given": given,
        "draws": module.DRAWS,
        **{
            source: module.describe_calibration(module.measure_calibration(surveys, simulation, cast, given))
            for source, cast in sources.items()
        },
    }


def _load(name: str) -> Any:
    """Import a module of the evaluation that needs the extra 'research'."""
    try:
        return importlib.import_module(f"mavera.evaluation.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mavera"):
            raise
        raise ConfigurationError(describe_missing_extra("research", "The evaluation with surveys")) from error


@dataclass(frozen=True, slots=True)
class _Work:
    """The surveys, the personas of each, and the number of tasks of each survey of choices."""

    surveys: Sequence["AnySurvey"]
    cast: Mapping[str, Sequence[Persona]]
    tasks: int


async def _simulate(
    work: _Work, settings: Settings, name: str, answers: Path | None, at_once: int
) -> "Simulation":
    asking = _load("survey_asking")
    console = Console(stderr=True, highlight=False)
    people = Personas(PersonaLibrary.load())
    columns = (TextColumn("Asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with open_named_model(settings, name, people) as named:
        await wait_until_ready(named.model, console)
        runner = Runner(people, {"live": named.model})

        def ask(turn: Turn) -> AsyncGenerator[Event, None]:
            return runner.run(turn, Principal.local())

        interviewer = asking.SurveyInterviewer(
            Elicitor(ask, model=DEFAULT_NAME),
            AnswerFile(answers),
            model=_digest(settings, named),
            method="letters" if named.model.profile.gives_logprobs else "shares",
        )
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            steps = asking.count_steps(interviewer, work.surveys, work.cast, work.tasks)
            task = bar.add_task("", total=steps)
            simulation: Simulation = await asking.simulate(
                interviewer,
                work.surveys,
                work.cast,
                lambda: bar.advance(task),
                tasks=work.tasks,
                at_once=at_once,
            )
            return simulation


def _list_personas(groups: "Cast") -> tuple[Persona, ...]:
    return tuple(persona for personas in groups.values() for persona in personas)


def _digest(settings: Settings, named: NamedModel) -> str:
    return digest_model(settings) if named.name == DEFAULT_NAME else named.record_name


def _write_plot(path: Path, report: "Report") -> None:
    figures = [
        Figure(title, mean)
        for source, title in _TITLES.items()
        if (mean := report.average("total_variation", source)).cases
    ]
    title = "Total variation distance from people, with 95 % intervals"
    try:
        path.write_text(draw_svg(figures, title), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from error


def _print(report: "Report", described: Mapping[str, Any]) -> None:
    console = Console()
    if report.items:
        console.print(_tabulate_distances(report, described))
        console.print(_tabulate_surveys(report, described))
        console.print(_tabulate_signs(described))
    needed = described["signs"]["needed_above_half"]
    if needed is not None:
        console.print(
            f"A lower bound above 50 % needs {needed} right signs of {described['signs']['cases']}.",
            highlight=False,
        )
    for survey, found in described["choices"].items():
        console.print(_tabulate_worths(survey, found))
        for source, reason in found["failures"].items():
            console.print(f"{_TITLES[source]}: {reason}.")
    if "calibration" in described:
        console.print(_tabulate_calibration(described["calibration"]))
    if report.failures:
        console.print(f"{format_count(len(report.failures), 'answer')} failed. No figure includes them.")


def _tabulate_distances(report: "Report", described: Mapping[str, Any]) -> Table:
    table = Table(format_count(len(report.items), "item"), "total variation", "KS, ordered", "variance ratio")
    for source, name in _TITLES.items():
        measured = (described[measure][source] for measure in ("total_variation", "ks", "variance_ratio"))
        table.add_row(name, *map(_format, measured))
    for name, mean in described["compared"].items():
        if mean is not None:
            table.add_row(name.replace("_", " "), _format(mean), "", "")
    return table


def _tabulate_surveys(report: "Report", described: Mapping[str, Any]) -> Table:
    table = Table(Column("total variation", overflow="fold"), "items", *_TITLES.values())
    for survey, found in described["surveys"].items():
        means = (found["total_variation"][source] for source in _TITLES)
        table.add_row(
            survey,
            str(sum(one.survey == survey for one in report.items)),
            *("–" if mean is None else f"{mean['mean']:.3f}" for mean in means),
        )
    return table


def _tabulate_signs(described: Mapping[str, Any]) -> Table:
    table = Table(Column("segments", overflow="fold"), "significant", "right sign", "share", "95 % interval")
    by_survey = {name: {**one["signs"], **one} for name, one in described["surveys"].items()}
    rows = {**by_survey, "all": described["signs"]}
    for name, row in rows.items():
        bounds = row["interval"]
        table.add_row(
            name,
            str(row["significant"]),
            f"{row['right']:g} of {row['cases']}",
            "–" if row["share"] is None else f"{row['share']:.1%}",
            "–" if bounds is None else f"{bounds[0]:.1%} to {bounds[1]:.1%}",
        )
    return table


def _tabulate_worths(survey: str, found: Mapping[str, Any]) -> Table:
    """Draw part-worths per standard deviation, and how well they agree."""
    sources = [source for source in ("people", "personas", "no_persona") if source in found["worths"]]
    table = Table(Column(f"{survey}, part-worths", overflow="fold"), "standard error", *sources)
    for at, name in enumerate(found["parameters"]):
        worths = (f"{found['worths'][source][at]:+.3f}" for source in sources)
        table.add_row(name, f"{found['errors'][at]:.3f}", *worths)
    correlation = {"people": found["correlation"]["halves"], **found["correlation"]}
    agreed = ("–" if correlation[source] is None else f"{correlation[source]:.3f}" for source in sources)
    table.add_row("correlation with people", "", *agreed)
    if len(sources) > 1:
        signs = (found["signs"].get(source) for source in sources)
        table.add_row(
            "right signs",
            "",
            *("" if one is None else f"{one['right']:g} of {one['cases']}" for one in signs),
        )
    return table


def _tabulate_calibration(found: Mapping[str, Any]) -> Table:
    """Draw the total variation of the items that did not calibrate, before and after."""
    title = f"{found['given']} items calibrate, {found['draws']} draws"
    table = Table(Column(title, overflow="fold"), "items", "before", "after", "less")
    for source in ("personas", "no_persona"):
        rows = {_TITLES[source]: found[source], **found[source]["surveys"]}
        for name, row in rows.items():
            if row["before"] is not None:
                figures = (f"{row['before']:.3f}", f"{row['after']:.3f}", f"{row['less']:+.0%}")
                table.add_row(name, str(row.get("items", "")), *figures)
    return table


def _format(mean: Mapping[str, Any] | None) -> str:
    if mean is None:
        return "–"
    low, high = mean["interval"]
    return f"{mean['mean']:.3f} ({low:.3f} to {high:.3f})"
