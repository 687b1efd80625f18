"""
Read questionnaires of other tools into study files.

    surveyjs   JSON of SurveyJS (pages, panels, visibleIf)       surveyjs.py
    qsf        a subset of a Qualtrics survey file               qsf.py
    csv        a line for each question                          questions_csv.py

An import returns the members of a study file without personas, and a report of everything that it could not
carry over. Nothing is dropped in silence. A file that is no questionnaire, or that is far too large, is
refused.
"""

import importlib
from typing import Literal, get_args

from mavera.focus_groups.imports.report import Imported, ImportRefused

ImportFormat = Literal["surveyjs", "qsf", "csv"]
IMPORT_FORMATS: tuple[ImportFormat, ...] = get_args(ImportFormat)

CHARACTERS_MAX = 4_000_000
_MODULES: dict[str, str] = {"surveyjs": "surveyjs", "qsf": "qsf", "csv": "questions_csv"}


def detect_format(text: str) -> ImportFormat:
    """Return the format that a file seems to have: Qualtrics names its entry, other JSON is SurveyJS."""
    beginning = text.lstrip("\ufeff \t\r\n")
    if not beginning.startswith("{"):
        return "csv"
    return "qsf" if '"SurveyEntry"' in text else "surveyjs"


def import_study(data: bytes | str, file_format: ImportFormat) -> Imported:
    """Return the study that a foreign questionnaire describes. Raises ImportRefused."""
    if len(data) > CHARACTERS_MAX:
        raise ImportRefused(f"The file has {len(data):,} characters. The limit is {CHARACTERS_MAX:,}.")
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data.removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ImportRefused("The file is not UTF-8. Save it as UTF-8.") from error
    module = importlib.import_module(f"mavera.focus_groups.imports.{_MODULES[file_format]}")
    imported: Imported = module.read_questionnaire(text)
    return imported
