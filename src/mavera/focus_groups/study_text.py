"""
Write a study as the text of a study file, and an example of one.

    Study  →  write_study  →  YAML that `read_study_file` reads as the same study, without defaults
"""

from typing import Any

import msgspec

from mavera.focus_groups.study import Study

EXAMPLE = """\
study: 1
name: Oat drink concept test
personas: [gen-z-consumer, boomer, budget-shopper]
sample: {size: 200, seed: 7}
stimulus:
  text: A new oat drink, made in the region, in a carton that can be composted.
questions:
  - {id: q1, type: yes_no, text: Would you try this drink?}
  - {id: q2, type: likert, points: 5, text: "This drink fits people like me."}
  - id: q3
    type: multiple_choice
    multiple: true
    text: What speaks for it?
    options: [Taste, Price, The carton, {text: None of these, exclusive: true, fixed: true}]
  - {id: q4, type: open_ended, text: "What would keep you from buying it?", verbatims: 3}
banner: [persona]
"""


def write_study(study: Study) -> str:
    """Return a study as YAML. Fields with their default value are left out."""
    return msgspec.yaml.encode(_shorten(study)).decode()


def _shorten(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        found: dict[str, Any] = {config.tag_field: config.tag} if config.tag_field is not None else {}
        for field in msgspec.structs.fields(value):
            inner = getattr(value, field.name)
            if field.required or inner != _find_default(field):
                found[field.name] = _shorten(inner)
        return found
    if isinstance(value, dict):
        return {name: _shorten(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_shorten(inner) for inner in value]
    return value


def _find_default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else msgspec.NODEFAULT
