"""
How often a verdict is right, and how often a mosaic counts an answer, by hand-labelled answers.

    python -m evals.reading [--json] [--others] [--fit]

`verdicts.jsonl` has 200 answers with what they say: 68 of the embedded model, and 132 written for it in
five languages, many of which say yes or no without the word. Four ways of reading are compared on them.
`mosaics.jsonl` has twenty questions with the answers of four personas each. `library.jsonl` has 338 answers
of the library's personas to ten questions, labelled by two readers apart from each other; the 328 on which
they agree count. `--fit` prints the weights with which a verdict adds both readings, fitted on the 200
answers and these 328. `others.txt` has 1,350 answers in three manners, which were written to be hard by three
other authors. Intervals are Wilson's, at 95 %.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evals.reading.train_verdicts import first_sentence, read_examples
from mavera.evaluation.measures import Share
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.second_reading import SURE, add_readings
from mavera.reading.verdict import STANCES, Verdict, VerdictReader
from mavera.runs.positions import COUNTED

HERE = Path(__file__).parent
ANCHORS = {
    "yes": ("Yes, I would.", "Ja, gerne.", "Sí, claro.", "Oui, bien sûr.", "Sim, com certeza."),
    "no": (
        "No, I would not.",
        "Nein, auf keinen Fall.",
        "No, nunca.",
        "Non, jamais.",
        "Não, de jeito nenhum.",
    ),
    "depends": ("It depends.", "Das kommt darauf an.", "Depende.", "Ça dépend.", "Depende."),
    "none": ("I have no opinion.", "Dazu weiß ich nichts.", "No sé.", "Je ne sais pas.", "Não sei."),
}


class Row(NamedTuple):
    question: str
    answer: str
    stance: str
    language: str
    source: str


def read_rows() -> list[Row]:
    lines = (HERE / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    found = map(json.loads, lines)
    return [Row(o["question"], o["answer"], o["verdict"], o["language"], o["from"]) for o in found]


def by_anchors(encoder: SentenceEncoder, rows: Sequence[Row]) -> Any:
    firsts = encoder.embed([first_sentence(row.answer) for row in rows])
    near = [(firsts @ encoder.embed(ANCHORS[stance]).T).max(axis=1) for stance in STANCES]
    return np.stack(near, axis=1)


def by_reader(reader: VerdictReader, rows: Sequence[Row]) -> Any:
    return np.log([reader.read(row.question, row.answer).probabilities for row in rows])


def by_model(rows: Sequence[Row]) -> Any:
    known = json.loads((HERE / "model_readings.json").read_text(encoding="utf-8"))
    return np.array([[known[f"{row.question} {row.answer}"][stance] for stance in STANCES] for row in rows])


def by_both(rows: Sequence[Row], reader: Any, model: Any) -> Any:
    """Add both with weights fitted on four fifths of the questions, and read the fifth that is left out."""
    questions = {row.question: n for n, row in enumerate(rows)}
    order = {question: n % 5 for n, question in enumerate(sorted(questions))}
    folds = np.array([order[row.question] for row in rows])
    right = np.array([STANCES.index(row.stance) for row in rows])
    found = np.zeros(reader.shape)
    for fold in range(5):
        inside = folds != fold
        weights = _fit_sum(reader[inside], model[inside], right[inside])
        found[~inside] = _add(weights, reader[~inside], model[~inside])
    return found


def _add(weights: Any, reader: Any, model: Any) -> Any:
    return weights[0] * reader + weights[1] * model + weights[2:]


def _fit_sum(reader: Any, model: Any, right: Any) -> Any:
    weights = np.array([1.0, 0.5, 0.0, 0.0, 0.0, 0.0])
    for _ in range(3000):
        scores = _add(weights, reader, model)
        off = np.exp(scores - scores.max(axis=1, keepdims=True))
        off /= off.sum(axis=1, keepdims=True)
        off[np.arange(len(right)), right] -= 1
        slope = np.array([(off * reader).sum(), (off * model).sum(), *off.sum(axis=0)]) / len(right)
        weights = weights - 0.1 * slope
    return weights


def auroc(scores: Any, rows: Sequence[Row]) -> float:
    """How well yes less no orders the answers that say yes above those that say no."""
    order = scores[:, 0] - scores[:, 1]
    yes = order[[row.stance == "yes" for row in rows]]
    no = order[[row.stance == "no" for row in rows]]
    return float(((yes[:, None] > no).sum() + 0.5 * (yes[:, None] == no).sum()) / (len(yes) * len(no)))


def rate(scores: Any, rows: Sequence[Row]) -> dict[str, Any]:
    right = [STANCES[best] == row.stance for best, row in zip(scores.argmax(axis=1), rows, strict=True)]
    groups: dict[str, Callable[[Row], bool]] = {
        "all": lambda row: True,
        "model's": lambda row: row.source == "model",
        "written, English": lambda row: row.source == "written" and row.language == "en",
        "written, others": lambda row: row.source == "written" and row.language != "en",
    }
    figures: dict[str, Any] = {"auroc yes/no": round(auroc(scores, rows), 3)}
    for name, belongs in groups.items():
        of_group = [is_right for is_right, row in zip(right, rows, strict=True) if belongs(row)]
        low, high = Share(sum(of_group), len(of_group)).interval
        figures[name] = [round(sum(of_group) / len(of_group), 3), round(low, 3), round(high, 3)]
    return figures


def read_library() -> list[Row]:
    """Return the answers of the library's personas on which both readers agree."""
    lines = (HERE / "library.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        Row(one["question"], one["answer"], one["labels"][0], "en", "library")
        for one in map(json.loads, lines)
        if len(set(one["labels"])) == 1
    ]


def fit_shipped() -> list[float]:
    """Return the weights of the reader and of the model, and the constant of each stance."""
    rows = [*read_rows(), *read_library()]
    right = np.array([STANCES.index(row.stance) for row in rows])
    weights = _fit_sum(by_reader(VerdictReader(SentenceEncoder()), rows), by_model(rows), right)
    return [round(float(weight), 2) for weight in weights]


def rate_library(reader: VerdictReader) -> dict[str, dict[str, Any]]:
    """Read the library's answers by the reader alone, and with the model as it ships."""
    rows = read_library()
    known = json.loads((HERE / "model_readings.json").read_text(encoding="utf-8"))
    alone = [reader.read(row.question, row.answer) for row in rows]
    helped = [
        verdict
        if verdict.probability >= SURE
        else add_readings(verdict, known[f"{row.question} {row.answer}"])
        for verdict, row in zip(alone, rows, strict=True)
    ]
    labels = [row.stance for row in rows]
    figures = {}
    for name, verdicts in (("the reader alone", alone), ("with the model", helped)):
        right = sum(verdict.stance == label for verdict, label in zip(verdicts, labels, strict=True))
        figures[f"library, {name}"] = {
            "right": _to_figure(right, len(labels)),
            **_rate_counted(labels, verdicts),
        }
    return figures


def rate_mosaics(reader: VerdictReader) -> dict[str, dict[str, Any]]:
    """Count the answers of `mosaics.jsonl` as a mosaic does, and by the reader alone."""
    known = json.loads((HERE / "model_readings.json").read_text(encoding="utf-8"))
    labels, alone, helped = list[str](), list[Verdict](), list[Verdict]()
    for line in (HERE / "mosaics.jsonl").read_text(encoding="utf-8").splitlines():
        mosaic = json.loads(line)
        for said in mosaic["answers"]:
            verdict = reader.read(mosaic["question"], said["answer"])
            letters = known[f"{mosaic['question']} {said['answer']}"]
            labels.append(said["verdict"])
            alone.append(verdict)
            helped.append(verdict if verdict.probability >= SURE else add_readings(verdict, letters))
    return {"the reader alone": _rate_counted(labels, alone), "with the model": _rate_counted(labels, helped)}


def rate_others(reader: VerdictReader) -> dict[str, list[float]]:
    """Return for each author of `others.txt` how many answers are read right, all and those counted."""
    _, *parts = (HERE / "others.txt").read_text(encoding="utf-8").split("# author ")
    figures = {}
    for part in parts:
        name, *lines = part.splitlines()
        examples = list(read_examples(lines))
        pairs = [(one.stance, reader.read(one.question, one.answer)) for one in examples]
        right = [label == verdict.stance for label, verdict in pairs]
        sure = [
            label == one.stance for label, one in pairs if one.stance != "none" and one.probability >= COUNTED
        ]
        figures[f"{name}: right"] = _to_figure(sum(right), len(right))
        figures[f"{name}: counted in the right group"] = _to_figure(sum(sure), len(sure))
    return figures


def _rate_counted(labels: Sequence[str], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    counted = [one.stance != "none" and one.probability >= COUNTED for one in verdicts]
    pairs = list(zip(labels, verdicts, counted, strict=True))
    positions = [is_counted for label, _, is_counted in pairs if label != "none"]
    right = [one.stance == label for label, one, is_counted in pairs if is_counted]
    opposite = {"yes": "no", "no": "yes"}
    reversed_ = [opposite.get(label) == one.stance for label, one, is_counted in pairs if is_counted]
    return {
        "positions that are counted": _to_figure(sum(positions), len(positions)),
        "counted in the right group": _to_figure(sum(right), len(right)),
        "counted as the opposite": _to_figure(sum(reversed_), len(reversed_)),
    }


def _to_figure(hits: int, cases: int) -> list[float]:
    low, high = Share(hits, cases).interval
    return [hits, cases, round(hits / cases, 3), round(low, 3), round(high, 3)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure verdicts.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--others", action="store_true", help="read the hard answers of others as well")
    parser.add_argument("--fit", action="store_true", help="print the weights of the sum, and no figures")
    options = parser.parse_args()
    if options.fit:
        print(fit_shipped())
        return
    rows = read_rows()
    encoder = SentenceEncoder()
    reader, model = by_reader(VerdictReader(encoder), rows), by_model(rows)
    ways = {
        "vectors and anchor sentences": by_anchors(encoder, rows),
        "the reader that ships: words and vectors, trained": reader,
        "a constrained read by the embedded model": model,
        "the reader and the model, added": by_both(rows, reader, model),
    }
    figures = {name: rate(scores, rows) for name, scores in ways.items()}
    mosaics = rate_mosaics(VerdictReader(encoder))
    library = rate_library(VerdictReader(encoder))
    others = {"by others": rate_others(VerdictReader(encoder))} if options.others else {}
    if options.json:
        print(json.dumps({"verdicts": figures, "mosaics": mosaics, "library": library, **others}))
        return
    for name, found in figures.items():
        print(name)
        for group, value in found.items():
            print(
                f"    {group:18}",
                value if isinstance(value, float) else "{:.3f} ({:.2f}–{:.2f})".format(*value),
            )
    mosaics = {f"mosaics, {name}": found for name, found in mosaics.items()}
    for name, found in (mosaics | library | others).items():
        print(name)
        for group, value in found.items():
            print(f"    {group:42}", "{} of {}: {:.3f} ({:.2f}–{:.2f})".format(*value))


if __name__ == "__main__":
    main()
