"""
Read and write the files of `mavera study`. Every failure is a ConfigurationError that names the file.

    concept.yaml  →  read_study  →  a study whose personas exist and fit its weights, quotas and banner
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from mavera.accounts.principal import Principal
from mavera.cli.hints import name_commands
from mavera.cli.study_office import Office, use_office
from mavera.errors import ConfigurationError, PersonaNotFound
from mavera.focus_groups.desk import load_study_module
from mavera.focus_groups.study import Study
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import AnyPersona, Personas


def read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark."""
    try:
        return read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8. Save it as UTF-8.") from error


def write_file(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from error


def write_new(path: Path, text: str) -> None:
    """Write a file that must not exist."""
    refuse_existing(path)
    write_file(path, text.encode())


def refuse_existing(path: Path) -> None:
    if path.exists():
        raise ConfigurationError(f"{path} exists already. Name another file.")


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"The folder {path} cannot be made: {error.strerror}.") from error


def find_faults(data: bytes, data_dir: Path | None) -> tuple[Study | None, tuple[Any, ...]]:
    """Return the study of a file, or its faults: those of the file, or else of its personas and sample."""
    faults = load_study_module("faults")
    try:
        read = load_study_module("study_file").read_study_file(data)
        study: Study = read.study
        people = _find_people(study, read.lines, data_dir)
        panel = load_study_module("panel").build_panel(study, people)
        load_study_module("panel_checks").check_panel(study, panel, read.lines)
    except faults.StudyError as error:
        return None, error.faults
    return study, ()


def read_study(
    file: Path, *, model: str | None = None, past: Path | None = None, data_dir: Path | None = None
) -> Study:
    """Return the checked study of a file, calibrated by the CSV file `past`."""
    study, faults = find_faults(read_file(file), data_dir)
    if study is None:
        raise ConfigurationError("\n".join([f"{file} is no valid study.", *map(str, faults)]))
    if past is not None:
        errors = load_study_module("faults")
        try:
            shares = load_study_module("calibration_checks").read_past_survey(read_file(past), study)
        except errors.StudyError as error:
            raise ConfigurationError(f"{past} does not fit the study.\n{error}") from error
        study = replace(study, calibration=shares)
    return replace(study, model=model) if model else study


def read_changes(path: Path) -> dict[str, Any]:
    """Return the fields of a study that a YAML or JSON file changes."""
    source = load_study_module("source")
    try:
        changes = source.read_tree(read_text(path)).to_plain()
    except source.SourceError as error:
        place = f", line {error.line}" if error.line else ""
        raise ConfigurationError(f"{path}{place}: {error.message}") from error
    if not isinstance(changes, dict):
        raise ConfigurationError(f"{path} has no fields to change. Write a field and its value: 'name: …'.")
    return changes


def check_changed(members: dict[str, Any]) -> Study:
    """Return the study that changed members describe."""
    faults = load_study_module("faults")
    try:
        study: Study = load_study_module("study_file").check_members(members).study
    except faults.StudyError as error:
        raise ConfigurationError(f"The changed study is not valid.\n{error}") from error
    return study


def _find_people(study: Study, lines: Mapping[str, int], data_dir: Path | None) -> list[AnyPersona]:
    """
    Return the personas of a study. Raises StudyError, which names all that do not exist.

    A study with personas of the library only needs no store.
    """
    library = Personas(PersonaLibrary.load())
    people, unknown = asyncio.run(_look_up(library, Principal.local(), study))
    if unknown:

        async def look_up(office: Office) -> tuple[list[AnyPersona], dict[int, str]]:
            return await _look_up(office.personas, office.principal, study)

        people, unknown = use_office(data_dir, look_up)
    faults = load_study_module("faults").Faults(lines)
    for n, message in unknown.items():
        faults.add(f"personas[{n}]", message)
    faults.raise_any()
    return people


async def _look_up(
    personas: Personas, principal: Principal, study: Study
) -> tuple[list[AnyPersona], dict[int, str]]:
    """Return the personas of a study that exist, and a message for each of the others."""
    people: list[AnyPersona] = []
    unknown = {}
    for n, one in enumerate(study.personas):
        try:
            people.append(await personas.find(one.id, principal))
        except PersonaNotFound as error:
            unknown[n] = name_commands(error.message)
    return people, unknown
