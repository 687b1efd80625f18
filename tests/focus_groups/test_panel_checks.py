"""A study against its panel: attributes that nobody has, quotas that cannot be met."""

from typing import Any

import pytest

from mavera.focus_groups.faults import StudyError
from mavera.focus_groups.panel_checks import check_panel
from mavera.focus_groups.study import NPS, Quota, Sample
from tests.focus_groups.studies import make_panel, make_study

PANEL = make_panel(3, age=["18-34", "35-54", "35-54"], gender=["female", "female", "male"])
YOUNG, FEMALE = {"age": "18-34"}, {"gender": "female"}


def find_faults(sample: Sample, **members: Any) -> list[str]:
    study = make_study(NPS(id="q1", text="?"), sample=sample, **members)
    with pytest.raises(StudyError) as caught:
        check_panel(study, PANEL, {"sample.weights.age": 5})
    return [str(fault) for fault in caught.value.faults]


def test_a_study_that_fits_its_panel_passes() -> None:
    sample = Sample(
        size=100,
        weights={"age": {"18-34": 40, "35-54": 60}},
        quotas=(Quota(where=YOUNG, size=50), Quota(where=FEMALE, size=80)),
    )

    check_panel(make_study(NPS(id="q1", text="?"), sample=sample, banner=("persona", "age", "q1")), PANEL)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (Sample(weights={"region": {"North": 100}}), "sample.weights.region: No persona has the attribute"),
        (Sample(weights={"age": {"18-34": 100}}), "line 5, sample.weights.age: Persona 1 (p1) has '35-54'"),
        (
            Sample(weights={"age": {"18-34": 40, "35-54": 50, "55+": 10}}),
            "sample.weights.age.55+: No persona has the age '55+'",
        ),
        (Sample(quotas=(Quota(where={"region": "North"}, size=5),)), "sample.quotas[0].where.region"),
        (Sample(quotas=(Quota(where={"age": "55+"}, size=5),)), "No persona has age 55+"),
        (Sample(size=9, quotas=(Quota(where=YOUNG, size=10),)), "10 is more than the sample of 9"),
        # All the young ones are women.
        (
            Sample(size=100, quotas=(Quota(where=YOUNG, size=60), Quota(where=FEMALE, size=50))),
            "The quotas contradict each other",
        ),
        (
            Sample(size=100, quotas=(Quota(where=YOUNG, size=60), Quota(where={"age": "35-54"}, size=30))),
            "The quotas contradict each other",
        ),
        (
            Sample(
                size=100,
                quotas=(Quota(where=YOUNG, size=100),),
                weights={"age": {"18-34": 30, "35-54": 70}},
            ),
            "sample.weights.age.35-54: The quotas leave no respondent",
        ),
    ],
)
def test_a_sample_that_does_not_fit_says_what_to_change(sample: Sample, message: str) -> None:
    assert any(message in fault for fault in find_faults(sample))


def test_a_banner_names_an_attribute_or_a_question() -> None:
    (fault,) = find_faults(Sample(), banner=("region",))

    assert "banner[0]: 'region' is neither an attribute nor a question" in fault
    assert "Known attributes: age, gender" in fault
