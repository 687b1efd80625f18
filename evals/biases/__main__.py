"""
How often a reported bias is there, how often a bias that is there is reported, and how often plain text has
one.

    python -m evals.biases [--json] [--vader DIR] [--comments DEV.tsv] [--sentences DEV.csv] [--texts N]
                           [--reports FILE]

Positives are the test split of ten texts for each bias and of hard negatives (`test_split.tsv`), which was
committed before the classifier was written, and the test of another author (`test_voices.tsv`). Plain texts
are the answers of personas in `plain.jsonl` and in `evals/answers/all.jsonl`, of personas and to questions
that gave no training text, and with `--vader`, the odd half of the reviews, editorials and posts of Hutto
and Gilbert (2014). `--comments` adds the dev split of GoEmotions, and `--sentences` that of EmoBank. No
text of these has trained the classifier. `--reports` writes the reports on plain text, at most 100 drawn at
random, for two readers. No model is asked.
"""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.biases.plain_questions import list_library_answers
from evals.biases.texts import HERE, list_reviews, read_tsv
from evals.emotion.texts import read_emobank, read_goemotions
from mavera.analysis.bias_classifier import BiasClassifier
from mavera.analysis.biases import find_suspects, load_catalogue, report_biases
from mavera.analysis.limits import pick_english_prose
from mavera.core.analysis import Bias
from mavera.evaluation.measures import Share
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.sentences import split_sentences

SEED = 27
MOST_REPORTS = 100
RESAMPLES = 2_000
SOURCES = ("amazonReview", "movieReview", "nytEditorial", "tweets")


@dataclass(frozen=True)
class Text:
    source: str
    shown: str
    text: str
    found: Sequence[Bias]


class Finder:
    def __init__(self) -> None:
        self._classifier = BiasClassifier(SentenceEncoder())

    def read(self, source: str, text: str, shown: str = "none") -> Text:
        sentences = pick_english_prose(split_sentences(text))
        judged = [(suspect, None) for suspect in find_suspects(sentences, self._classifier)]
        return Text(source, shown, text, report_biases(judged))


def list_plain(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the source and the text of each plain text, of each source at most `options.texts`."""
    most, vader = options.texts, options.vader
    lines = (HERE / "plain.jsonl").read_text(encoding="utf-8").splitlines()
    found = [("persona answers", json.loads(line)["text"]) for line in lines]
    found += [("persona answers", text) for text in list_library_answers(trains=False)]
    for source, path, read in (
        ("comments", options.comments, read_goemotions),
        ("sentences", options.sentences, read_emobank),
    ):
        texts = read(path)[0] if path is not None else []
        drawn = random.Random(SEED)
        found += [(source, text) for text in drawn.sample(texts, min(most, len(texts)))]
    if vader is not None:
        drawn = random.Random(SEED)
        for source in SOURCES:
            texts = list_reviews(vader, source, 1)
            found += [(source, text) for text in drawn.sample(texts, min(most, len(texts)))]
    return found


def score(texts: Sequence[Text]) -> dict[str, float]:
    """
    Return precision, recall and F1. Each report is right or wrong, and a text that shows a bias is found or
    not.
    """
    right = sum(one.shown in {bias.name for bias in one.found} for one in texts)
    reports = sum(len(one.found) for one in texts)
    there = sum(one.shown != "none" for one in texts)
    precision = right / reports if reports else 0.0
    recall = right / there if there else 0.0
    f1 = 2 * right / (reports + there) if reports + there else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def add_intervals(texts: Sequence[Text]) -> dict[str, list[float]]:
    """Return each score with the middle 95 % of its values on texts drawn again."""
    drawn = random.Random(SEED)
    again = [score(drawn.choices(texts, k=len(texts))) for _ in range(RESAMPLES)]
    found = {}
    for name, value in score(texts).items():
        values = sorted(one[name] for one in again)
        found[name] = [
            round(value, 3),
            round(values[len(values) // 40], 3),
            round(values[-len(values) // 40], 3),
        ]
    return found


def measure_plain(texts: Sequence[Text]) -> dict[str, Any]:
    found = {}
    for source in dict.fromkeys(one.source for one in texts):
        own = [one for one in texts if one.source == source]
        share = Share(sum(bool(one.found) for one in own), len(own))
        low, high = share.interval
        found[source] = {
            "texts": len(own),
            "with_a_report": [round(share.value, 4), round(low, 4), round(high, 4)],
            "reports": sum(len(one.found) for one in own),
        }
    return found


def write_reports(texts: Sequence[Text], path: Path) -> None:
    lines = [
        {"source": one.source, "bias": bias.name, "evidence": bias.evidence, "text": one.text[:600]}
        for one in texts
        for bias in one.found
    ]
    random.Random(SEED).shuffle(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[:MOST_REPORTS]), encoding="utf-8")
    print(f"{len(lines)} reports, of which {min(MOST_REPORTS, len(lines))} are in {path}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--vader", type=Path)
    parser.add_argument("--comments", type=Path)
    parser.add_argument("--sentences", type=Path)
    parser.add_argument("--texts", type=int, default=1_000, help="of each source of plain text, at most")
    parser.add_argument("--reports", type=Path)
    options = parser.parse_args()
    finder = Finder()
    test = [finder.read("test", text, name) for name, text in read_tsv(HERE / "test_split.tsv")]
    voices = [finder.read("voices", text, name) for name, text in read_tsv(HERE / "test_voices.tsv")]
    plain = [finder.read(source, text) for source, text in list_plain(options)]
    if options.reports:
        write_reports(plain, options.reports)
    per_bias = {
        bias.name: {
            "found": sum(bias.name in {b.name for b in one.found} for one in test if one.shown == bias.name),
            "of": sum(one.shown == bias.name for one in test),
            "wrong": sum(bias.name in {b.name for b in one.found} for one in test if one.shown != bias.name),
        }
        for bias in load_catalogue().biases
    }
    negatives = [one for one in test if one.shown == "none"]
    found = {
        "test": add_intervals(test),
        "voices": add_intervals(voices),
        "hard_negatives": {
            "texts": len(negatives),
            "with_a_report": sum(bool(one.found) for one in negatives),
        },
        "per_bias": per_bias,
        "plain": measure_plain(plain),
        "reports_by_bias": Counter(bias.name for one in plain for bias in one.found),
    }
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
