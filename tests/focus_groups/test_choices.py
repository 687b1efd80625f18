"""
MaxDiff and conjoint questions: planted worths come back from expected shares, and intervals from personas.
"""

import numpy as np
import pytest
from scipy.special import softmax

from mavera.focus_groups.choice_models import NotIdentified, fit_conditional_logit, fit_maxdiff
from mavera.focus_groups.choices import (
    ConjointModel,
    code_tasks,
    fit_conjoint_model,
    fit_maxdiff_model,
    measure_choices,
)
from mavera.focus_groups.designs import list_sets, list_tasks
from mavera.focus_groups.draw import draw_respondents
from mavera.focus_groups.elicited import CellId, Elicited
from mavera.focus_groups.grids import Grids
from mavera.focus_groups.mixtures import Floats
from mavera.focus_groups.study import Attribute, Conjoint, MaxDiff, Study
from tests.support.simulations import build_panel, build_study, elicit_randomly, simulate_plainly

ITEMS = ("Price", "Taste", "Protein", "Vitamins", "Packaging", "Brand")
UTILITIES = np.array([1.0, 0.6, 0.1, -0.2, -0.5, -1.0])
MAXDIFF = MaxDiff(id="m", text="?", items=ITEMS, per_set=4)
CONJOINT = Conjoint(
    id="c",
    text="?",
    attributes=(
        Attribute(name="brand", levels=("Oatly", "Alpro", "Store")),
        Attribute(name="size", levels=("small", "large")),
        Attribute(name="price", levels=("$2", "$3", "$4"), prices=(2.0, 3.0, 4.0)),
    ),
    tasks=10,
    none=True,
    price="price",
)
# Two effects of the brand, one of the size, the slope of the price, and "none".
WORTHS = np.array([0.5, 0.1, -0.4, -0.6, -0.3])


def _study(question: MaxDiff | Conjoint, personas: int = 4) -> Study:
    return build_study(personas, cells=(), questions=(question,), banner=())


def _elicit_maxdiff(study: Study, spread: float = 0.0) -> dict[CellId, Elicited]:
    book = {}
    for at, persona in enumerate([*(one.id for one in build_panel(study)), None]):
        own = UTILITIES + spread * np.random.default_rng(at).normal(size=6)
        for number, items in enumerate(list_sets(study, MAXDIFF), 1):
            cell = CellId("m", str(number), persona, None)
            places = list(items)
            book[cell] = Elicited(cell, np.array([softmax(own[places]), softmax(-own[places])]))
    return book


def _elicit_conjoint(study: Study, spread: float = 0.0, worths: Floats = WORTHS) -> dict[CellId, Elicited]:
    designs = code_tasks(CONJOINT, list_tasks(study, CONJOINT))
    book = {}
    for at, persona in enumerate([*(one.id for one in build_panel(study)), None]):
        own = worths + spread * np.random.default_rng(at).normal(size=5)
        for number, design in enumerate(designs, 1):
            cell = CellId("c", str(number), persona, None)
            book[cell] = Elicited(cell, softmax(design @ own))
    return book


def _grids(study: Study, book: dict[CellId, Elicited]) -> Grids:
    return simulate_plainly(study, book).grids


def test_planted_utilities_come_back_from_expected_shares() -> None:
    study = _study(MAXDIFF)

    model = fit_maxdiff_model(_grids(study, _elicit_maxdiff(study)), MAXDIFF)

    assert [one.value for one in model.utilities] == pytest.approx(UTILITIES.tolist(), abs=1e-8)
    assert [one.value for one in model.shares] == pytest.approx(softmax(UTILITIES).tolist(), abs=1e-8)


def test_personas_that_differ_give_utilities_an_interval() -> None:
    study = _study(MAXDIFF)

    model = fit_maxdiff_model(_grids(study, _elicit_maxdiff(study, 0.3)), MAXDIFF)

    for one in (*model.utilities, *model.shares):
        assert one.interval is not None
        assert one.interval[0] < one.value < one.interval[1]
    assert all((one.interval or (0, 0))[0] >= 0 for one in model.shares)


def test_counts_of_maxdiff_weigh_all_sets_alike() -> None:
    study = _study(MAXDIFF)
    measures = measure_choices(_grids(study, _elicit_maxdiff(study)), MAXDIFF)

    best = {one.label: one.estimate() or 0.0 for one in measures if one.kind == "best"}
    assert best["Price"] > best["Taste"] > best["Brand"]
    counts = {one.label: one.estimate() or 0.0 for one in measures if one.kind == "count"}
    assert counts["Price"] > 0 > counts["Brand"]


def _fit(spread: float = 0.0, personas: int = 4, worths: Floats = WORTHS) -> ConjointModel:
    study = _study(CONJOINT, personas)
    return fit_conjoint_model(_grids(study, _elicit_conjoint(study, spread, worths)), CONJOINT)


def test_planted_part_worths_come_back_from_expected_shares() -> None:
    model = _fit()

    brand, size, price = model.attributes
    assert [one.part_worth.value for one in brand.levels] == pytest.approx([0.5, 0.1, -0.6], abs=1e-8)
    assert [one.part_worth.value for one in size.levels] == pytest.approx([-0.4, 0.4], abs=1e-8)
    assert [one.part_worth.value for one in price.levels] == pytest.approx([0.6, 0, -0.6], abs=1e-8)
    assert model.price_slope is not None
    assert model.price_slope.value == pytest.approx(-0.6, abs=1e-8)
    assert model.none is not None
    assert model.none.value == pytest.approx(-0.3, abs=1e-8)


def test_importance_and_willingness_to_pay_follow() -> None:
    model = _fit()

    brand, size, price = model.attributes
    assert brand.importance.value == pytest.approx(1.1 / (1.1 + 0.8 + 1.2))
    assert size.levels[1].willingness_to_pay is not None
    assert size.levels[1].willingness_to_pay.value == pytest.approx(0.8 / 0.6)
    assert price.levels[0].willingness_to_pay is None


def test_people_who_prefer_to_pay_more_have_no_willingness_to_pay() -> None:
    model = _fit(worths=np.array([0.5, 0.1, -0.4, 0.6, -0.3]))

    assert model.attributes[0].levels[1].willingness_to_pay is None


def test_the_simulator_gives_shares_of_products_and_of_none() -> None:
    model = _fit()
    products = [
        {"brand": "Oatly", "size": "large", "price": "$2"},
        {"brand": "Store", "size": "small", "price": "$4"},
    ]

    shares = model.simulate_shares(products)

    expected = softmax(np.array([0.5 + 0.4 + 0.6, -0.6 - 0.4 - 0.6, -0.3]))
    assert shares == pytest.approx(expected.tolist())
    with pytest.raises(KeyError):
        model.simulate_shares([{"brand": "Oatly"}])


def test_demand_falls_with_the_price() -> None:
    shares = [worth.value for _, worth in _fit().demand]

    assert shares == sorted(shares, reverse=True)
    assert shares[1] == pytest.approx(1 / (1 + np.exp(-0.3)))


def test_intervals_need_three_personas() -> None:
    assert _fit(0.2, 2).attributes[0].importance.interval is None
    interval = _fit(0.2, 5).attributes[0].importance.interval
    assert interval is not None
    assert 0 <= interval[0] < interval[1] <= 1


def test_a_failed_task_leaves_the_model() -> None:
    study = _study(CONJOINT)
    book = _elicit_conjoint(study)
    del book[CellId("c", "3", "persona1", None)]

    model = fit_conjoint_model(_grids(study, book), CONJOINT)

    assert model.attributes[0].levels[0].part_worth.value == pytest.approx(0.5, abs=1e-8)


def test_nothing_answered_is_no_model() -> None:
    study = _study(MAXDIFF)
    book = {cell: one for cell, one in elicit_randomly(study, build_panel(study)).items() if not cell.persona}

    with pytest.raises(NotIdentified):
        fit_maxdiff_model(_grids(study, book), MAXDIFF)


def test_200_drawn_respondents_give_the_part_worths_back() -> None:
    study = build_study(4, 200, cells=(), questions=(CONJOINT,), banner=())
    draw = draw_respondents(study, build_panel(study), _elicit_conjoint(study))
    chosen = draw.completes.answers["c"].choices
    designs = code_tasks(CONJOINT, list_tasks(study, CONJOINT))

    counts = np.array([np.bincount(column, minlength=4) for column in chosen.T], dtype=np.float64)
    fit = fit_conditional_logit(designs, counts)

    assert np.corrcoef(fit.parameters, WORTHS)[0, 1] >= 0.95


def test_200_drawn_respondents_give_the_utilities_back() -> None:
    study = build_study(4, 200, cells=(), questions=(MAXDIFF,), banner=())
    draw = draw_respondents(study, build_panel(study), _elicit_maxdiff(study))
    chosen = draw.completes.answers["m"].choices
    sets = list_sets(study, MAXDIFF)

    best, worst = (
        np.array([np.bincount(chosen[:, number, side], minlength=4) for number in range(len(sets))]) * 1.0
        for side in (0, 1)
    )
    fit = fit_maxdiff(sets, best, worst, 6)

    assert np.corrcoef(fit.parameters, UTILITIES)[0, 1] >= 0.95
