"""
Check the statistics of simulated studies by simulation, and on the choices of real car buyers.

    python -m evals.estimates intervals                   coverage of the simulation interval
    python -m evals.estimates rectification               errors and coverage of prediction-powered estimates
    python -m evals.estimates shares                      coverage of the intervals of shares, rare ones too
    python -m evals.estimates cars --data surveys/cars-conjoint/cars_us.csv

`intervals` draws personas whose logits are normal; the truth is the mean of their shares over all personas.
`cars` fits a conditional logit to the stated choices of 384 US car buyers (Helveston et al. 2015, in the
package logitr, MIT), and compares it with statsmodels run until it moves no more.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
from bench.report import show
from statsmodels.discrete.conditional_models import ConditionalLogit

from mavera.focus_groups import human
from mavera.focus_groups.choice_models import fit_conditional_logit
from mavera.focus_groups.intervals import find_share_interval
from mavera.focus_groups.mixtures import Floats
from mavera.focus_groups.rectify import Rectified, count_effective_people, rectify_means

TRIALS = 20_000
SHARE_TRIALS = 2_000
SEED = 20_000
SETTINGS = [(mean, spread) for mean in (0.0, 1.0, 1.5) for spread in (0.5, 1.0)] + [(3.0, 2.0)]
CARS = [
    "hev",
    "phev10",
    "phev20",
    "phev40",
    "bev75",
    "bev100",
    "bev150",
    "phevFastcharge",
    "bevFastcharge",
    "price",
    "opCost",
    "accelTime",
]
CARS += ["american", "japanese", "chinese", "skorean"]


def cover_shares() -> list[dict[str, Any]]:
    """Return the share of trials in which the simulation interval has the truth."""
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(200)
    rows = []
    for mean, spread in SETTINGS:
        truth = float((1 / (1 + np.exp(-mean - spread * nodes))) @ node_weights / node_weights.sum())
        row: dict[str, Any] = {"mean of logits": mean, "their SD": spread}
        for personas in (3, 5, 10):
            random = np.random.default_rng(SEED + personas)
            shares = 1 / (1 + np.exp(-random.normal(mean, spread, (TRIALS, personas))))
            low, high = find_share_interval(shares)
            row[f"{personas} personas"] = round(float(((low <= truth) & (truth <= high)).mean()), 4)
            row[f"width of {personas}"] = round(float(np.median(high - low)), 2)
        rows.append(row)
    return rows


def rectify() -> list[dict[str, Any]]:
    """
    Return squared errors of rectified means over those of the people alone, and the coverage of intervals.
    """
    rows = []
    for people in (30, 50, 100, 200):
        row: dict[str, Any] = {"people": people}
        for correlation in (0.0, 0.3, 0.5, 0.7):
            random = np.random.default_rng(SEED + people)
            errors, plain, covered = 0.0, 0.0, 0
            for _ in range(TRIALS):
                signal = random.normal(0, 1, (people, 1))
                answers = correlation * signal + np.sqrt(1 - correlation**2) * random.normal(
                    0, 1, (people, 1)
                )
                predictions = signal * (correlation or 1.0)
                found = rectify_means(answers, predictions, np.zeros(1))
                errors += float(found.estimates[0]) ** 2
                plain += float(found.people[0]) ** 2
                covered += bool(found.low[0] <= 0 <= found.high[0])
            row[f"error, r = {correlation:g}"] = round(errors / plain, 3)
            row[f"coverage, r = {correlation:g}"] = round(covered / TRIALS, 4)
        rows.append(row)
    return rows


def cover_combined_shares() -> list[dict[str, Any]]:
    """
    Return how often the combined interval of a share contains it, and how often that of its mean does.

    Each person has a chance of their own, drawn around the share (a beta distribution). The simulation
    predicts it. The shares are both of two answers. A spread of 0 means useless predictions.
    """
    rows = []
    for share in (0.03, 0.1, 0.3, 0.5):
        for people in (15, 30, 100):
            row: dict[str, Any] = {"share": share, "people": people}
            for spread in (0.0, 0.4, 0.7):
                random = np.random.default_rng(SEED + people)
                covered = by_mean = 0
                for _ in range(SHARE_TRIALS):
                    found = _draw_shares(random, share, people, spread)
                    both = min(max(float(found.estimates[0]), 0.0), 1.0)
                    low, high = human.find_share_interval(both, float(count_effective_people(found)[0]))
                    covered += low <= share <= high
                    by_mean += bool(found.low[0] <= share <= found.high[0])
                row[f"coverage, spread {spread:g}"] = round(covered / SHARE_TRIALS, 3)
                row[f"of the mean, spread {spread:g}"] = round(by_mean / SHARE_TRIALS, 3)
            rows.append(row)
    return rows


def _draw_shares(random: np.random.Generator, share: float, people: int, spread: float) -> Rectified:
    strength = 1 / spread**2 - 1 if spread else 0.0
    if strength:
        chances = random.beta(share * strength, (1 - share) * strength, people)
        predictions, mixture = chances, np.array([share, 1 - share])
    else:
        chances, predictions, mixture = np.full(people, share), random.random(people), np.full(2, 0.5)
    answers = (random.random(people) < chances).astype(float)
    return rectify_means(
        np.stack([answers, 1 - answers], axis=1), np.stack([predictions, 1 - predictions], axis=1), mixture
    )


def read_cars(path: Path) -> tuple[Floats, Floats]:
    """Return designs and choices. Line ends of the file may be CR alone."""
    with path.open(newline="", encoding="latin-1") as file:
        lines = list(csv.DictReader(file.read().splitlines()))
    designs = np.array([[float(line[name]) for name in CARS] for line in lines])
    choices = np.array([float(line["choice"]) for line in lines])
    return designs.reshape(-1, 3, len(CARS)), choices.reshape(-1, 3)


def fit_cars(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return our part-worths beside those of statsmodels, and the largest differences."""
    designs, choices = read_cars(path)
    fit = fit_conditional_logit(designs, choices)
    groups = np.repeat(np.arange(len(designs)), designs.shape[1])
    model = ConditionalLogit(choices.ravel(), designs.reshape(-1, designs.shape[2]), groups=groups)
    result = model.fit(method="bfgs", start_params=np.zeros(len(CARS)), gtol=1e-7, maxiter=2000, disp=False)
    reference = np.asarray(result.params)
    price = CARS.index("price")
    rows = [
        {
            "attribute": name,
            "part-worth": round(float(fit.parameters[at]), 5),
            "standard error": round(float(fit.errors[at]), 5),
            "statsmodels": round(float(reference[at]), 5),
            "worth, $1,000": round(float(fit.parameters[at] / -fit.parameters[price]), 2),
        }
        for at, name in enumerate(CARS)
    ]
    apart = np.abs(fit.parameters - reference)
    summary = {
        "choice sets": len(designs),
        "largest difference": float(apart.max()),
        "largest difference in standard errors": float((apart / fit.errors).max()),
        "log-likelihood": fit.log_likelihood,
        "log-likelihood of statsmodels": float(result.llf),
        "steps of Newton's method": fit.steps,
    }
    return rows, summary


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("check", choices=("intervals", "rectification", "shares", "cars"))
    parser.add_argument("--data", type=Path, help="the CSV file of cars-conjoint")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    summary: dict[str, Any] = {"trials": TRIALS}
    if args.check == "intervals":
        rows = cover_shares()
    elif args.check == "rectification":
        rows = rectify()
    elif args.check == "shares":
        rows, summary = cover_combined_shares(), {"trials": SHARE_TRIALS}
    elif args.data is None:
        parser.error("cars needs --data")
    else:
        rows, summary = fit_cars(args.data)
    show(f"estimates: {args.check}", rows, as_json=args.json, summary=summary)


if __name__ == "__main__":
    main()
