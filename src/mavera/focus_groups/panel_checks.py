"""
Check a study against its panel: attributes that nobody has, and quotas that cannot be met.

Quotas fix the number of respondents in a group of personas. A linear program over the number of respondents
of each persona finds whether the quotas contradict each other, the size of the sample, or the weights.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from mavera.focus_groups.faults import Faults
from mavera.focus_groups.panel import Panel
from mavera.focus_groups.study import Quota, Study

# A banner can name these beside attributes and questions.
_COLUMNS = ("persona", "cell")


def check_panel(study: Study, panel: Panel, lines: Mapping[str, int] | None = None) -> None:
    """Raise StudyError if the weights, quotas or banner of a study do not fit its panel."""
    faults = Faults(lines or {})
    known = list(dict.fromkeys(name for one in panel for name in one.attributes))
    for name, targets in study.sample.weights.items():
        _check_targets(faults, name, targets, panel, known)
    for n, quota in enumerate(study.sample.quotas):
        _check_quota(faults, f"sample.quotas[{n}].where", quota, panel, known)
    questions = {question.id for question in study.questions}
    for n, name in enumerate(study.banner):
        if name not in (*_COLUMNS, *known) and name not in questions:
            faults.add(
                f"banner[{n}]",
                f"'{name}' is neither an attribute nor a question. {_list(known)}",
            )
    if not faults.found:
        _check_quotas_together(faults, study, panel)
    faults.raise_any()


def find_members(panel: Panel, where: Mapping[str, str]) -> NDArray[np.bool_]:
    """Return for each panelist whether it has all the attributes of `where`."""
    return np.array([all(one.attributes.get(k) == v for k, v in where.items()) for one in panel])


def _list(known: Sequence[str]) -> str:
    return f"Known attributes: {', '.join(known)}. Add others under 'attributes' of the personas."


def _check_targets(
    faults: Faults, name: str, targets: Mapping[str, float], panel: Panel, known: Sequence[str]
) -> None:
    path = f"sample.weights.{name}"
    if name not in known:
        faults.add(path, f"No persona has the attribute '{name}'. {_list(known)}")
        return
    for one in panel:
        value = one.attributes.get(name)
        if value is None:
            faults.add(path, f"{one.name} ({one.id}) has no '{name}'. Give it one under its 'attributes'.")
        elif value not in targets:
            faults.add(path, f"{one.name} ({one.id}) has '{value}', which has no share here. Add a share.")
    values = {one.attributes.get(name) for one in panel}
    for value, share in targets.items():
        if share > 0 and value not in values:
            faults.add(f"{path}.{value}", f"No persona has the {name} '{value}'. Add such a persona.")


def _check_quota(faults: Faults, path: str, quota: Quota, panel: Panel, known: Sequence[str]) -> None:
    for name in quota.where:
        if name not in known:
            faults.add(f"{path}.{name}", f"No persona has the attribute '{name}'. {_list(known)}")
            return
    if quota.size and not find_members(panel, quota.where).any():
        wanted = ", ".join(f"{name} {value}" for name, value in quota.where.items())
        faults.add(path, f"No persona has {wanted}. Add such a persona, or change the quota.")


def _check_quotas_together(faults: Faults, study: Study, panel: Panel) -> None:
    sample = study.sample
    groups = [find_members(panel, quota.where) for quota in sample.quotas]
    sizes = [quota.size for quota in sample.quotas]
    for n, quota in enumerate(sample.quotas):
        if quota.size > sample.size:
            faults.add(
                f"sample.quotas[{n}].size",
                f"{quota.size} is more than the sample of {sample.size}. Lower it.",
            )
    if faults.found or not groups:
        return
    if not _is_feasible(groups, sizes, sample.size, []):
        faults.add(
            "sample.quotas",
            f"The quotas contradict each other or the sample of {sample.size}. Respondents cannot be spread "
            "over the personas so that all are met. Change a size, or add personas outside the groups.",
        )
        return
    for name, targets in sample.weights.items():
        for value, share in targets.items():
            needed = find_members(panel, {name: value})
            if share > 0 and not _is_feasible(groups, sizes, sample.size, [needed]):
                faults.add(
                    f"sample.weights.{name}.{value}",
                    f"The quotas leave no respondent of {name} '{value}', whose share is {share:g}. "
                    "Lower a quota, or remove the share.",
                )


def _is_feasible(
    groups: Sequence[NDArray[np.bool_]],
    sizes: Sequence[int],
    total: int,
    needed: Sequence[NDArray[np.bool_]],
) -> bool:
    """Return whether groups of these sizes exist in which each of `needed` has a respondent."""
    rows = [*groups, np.ones(len(groups[0]), dtype=bool)]
    found = linprog(
        np.zeros(len(rows[0])),
        A_eq=np.array(rows, dtype=float),
        b_eq=np.array([*sizes, total], dtype=float),
        A_ub=-np.array(needed, dtype=float) if needed else None,
        b_ub=-np.ones(len(needed)) if needed else None,
        bounds=(0, None),
        integrality=np.ones(len(rows[0])),
    )
    return bool(found.status == 0)
