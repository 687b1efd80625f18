"""
Whether confidence means something: of answers with confidence 8, about 80 % should be right.

    python -m evals.confidence [--json] [--read N --lists DIR [--as STYLE]] [--plot FILE]

`--read N` asks the embedded model N questions more (some 3 seconds each on two cores) and adds
to `readings.json`: `--as words` for a few words at temperature 0, `--as sentences` for one or
two sentences at temperature 1, which read like any free text. The questions are those of the
trivia lists `general`, `geography`, `elements` and `worldcapitals` in the package
Red-DiscordBot: DIR is the folder with those YAML files. They are cut in halves, and each is
scored with what was fitted on the other. `--plot` writes the reliability diagram as SVG.
"""

import argparse
import asyncio
import json
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from evals.engine import asked, embedded_model, hear
from mavera.analysis.confidence import TEXT_TOKENS, Calibration, estimate_confidence, features
from mavera.core.prompt import Sampling

HERE = Path(__file__).parent
READINGS = HERE / "readings.json"
LISTS = ("general", "geography", "elements", "worldcapitals")
WORDS, SENTENCES = "words", "sentences"
SYSTEMS = {
    WORDS: "Answer the question in a few words.",
    SENTENCES: "Answer the question in one or two full sentences.",
}
TOKENS = {WORDS: 24, SENTENCES: 72}
SAMPLING = {WORDS: Sampling(temperature=0.0), SENTENCES: Sampling(temperature=1.0, seed=1)}
BINS = 5
DECAY = 0.05  # towards no effect: the questions are few

Reading = dict[str, Any]
Scored = list[tuple[float, bool]]


def questions(folder: Path) -> list[tuple[str, list[str]]]:
    """Return the questions of the lists with their accepted answers, in an order of no meaning."""
    found = [pair for name in LISTS for pair in _pairs((folder / f"{name}.yaml").read_text(encoding="utf-8"))]
    return sorted(found, key=lambda pair: zlib.crc32(pair[0].encode()))


def _pairs(text: str) -> Iterator[tuple[str, list[str]]]:
    question, answers = "", list[str]()
    for line in text.splitlines():
        if line.startswith("- ") and question:
            answers.append(line[2:].strip().strip("'\""))
        elif re.match(r"[^\s#-].*:\s*$", line) and not line.isupper():
            if question and answers:
                yield question, answers
            question, answers = line.rstrip().rstrip(":").strip("'\""), []
    if question and answers:
        yield question, answers


def is_right(said: str, answers: Sequence[str]) -> bool:
    """Whether one of `answers` stands in `said` as words of its own."""
    plain = f" {_plain(said)} "
    return any(f" {_plain(answer)} " in plain for answer in answers if _plain(answer))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


async def read(pairs: Sequence[tuple[str, list[str]]], more: int, style: str) -> None:
    found: list[Reading] = json.loads(READINGS.read_text(encoding="utf-8")) if READINGS.exists() else []
    known = {one["question"] for one in found if one["style"] == style}
    async with embedded_model() as model:
        for question, answers in [pair for pair in pairs if pair[0] not in known][:more]:
            turn = asked(question, system=SYSTEMS[style], max_tokens=TOKENS[style])
            heard = await hear(model, replace(turn, sampling=SAMPLING[style]))
            right = is_right(heard.text, answers)
            logprobs = [round(value, 4) for value in heard.logprobs]
            found.append({"question": question, "style": style, "right": right, "logprobs": logprobs})
            READINGS.write_text(json.dumps(found, indent=0), encoding="utf-8")
            print(len(found), right, question[:60], "→", heard.text[:60].replace("\n", " "), flush=True)


def fitted(readings: Sequence[Reading]) -> Calibration:
    """Return the logistic over both features that fits `readings`, by gradient descent with a small decay."""
    data = [((1.0, *features(one["logprobs"])), one["right"]) for one in readings]
    values = [0.0] * 3
    for _ in range(5000):
        steps = [0.0] * 3
        for inputs, right in data:
            off = 1 / (1 + math.exp(-sum(v * x for v, x in zip(values, inputs, strict=True)))) - right
            steps = [step + off * x for step, x in zip(steps, inputs, strict=True)]
        decays = (0.0, *(DECAY * value for value in values[1:]))
        values = [v - 0.1 * (s / len(data) + d) for v, s, d in zip(values, steps, decays, strict=True)]
    return Calibration(*(round(value, 3) for value in values))


def auroc(scored: Sequence[tuple[float, bool]]) -> float:
    right = [score for score, is_so in scored if is_so]
    wrong = [score for score, is_so in scored if not is_so]
    wins = sum((a > b) + 0.5 * (a == b) for a in right for b in wrong)
    return wins / (len(right) * len(wrong)) if right and wrong else math.nan


def bins(scored: Sequence[tuple[float, bool]]) -> list[tuple[float, float, int]]:
    """Return mean confidence (0–1), share right and number of answers, for each bin that has any."""
    found = []
    for n in range(BINS):
        inside = [one for one in scored if n == min(BINS - 1, int(one[0] / 10 * BINS))]
        if inside:
            mean = sum(score for score, _ in inside) / len(inside) / 10
            found.append((mean, sum(is_so for _, is_so in inside) / len(inside), len(inside)))
    return found


def figures(readings: Sequence[Reading]) -> dict[str, Any]:
    usable = [one for one in readings if one["logprobs"]]
    few = [one for one in usable if len(one["logprobs"]) < TEXT_TOKENS]
    text = [one for one in usable if len(one["logprobs"]) >= TEXT_TOKENS]
    return {
        **_measured([*_scored(few), *_scored(text)]),
        "few_words": {**_measured(_scored(few)), "fitted_on_all": repr(fitted(few))},
        "text": {**_measured(_scored(text)), "fitted_on_all": repr(fitted(text))},
    }


def _scored(readings: Sequence[Reading]) -> Scored:
    """Score each half of `readings` by what was fitted on the other: all count, and none counts twice."""
    halves = [
        [one for one in readings if zlib.crc32(one["question"].encode()[::-1]) % 2 == n] for n in (0, 1)
    ]
    return [
        (estimate_confidence(one["logprobs"], None, made) or 0.0, bool(one["right"]))
        for half, other in (halves, halves[::-1])
        for made in [fitted(other)]
        for one in half
    ]


def _measured(scored: Scored) -> dict[str, Any]:
    made = bins(scored)
    ece = sum(abs(mean - share) * count for mean, share, count in made) / max(1, len(scored))
    return {
        "answers": len(scored),
        "right": round(sum(is_so for _, is_so in scored) / max(1, len(scored)), 3),
        "auroc": round(auroc(scored), 3),
        "ece": round(ece, 3),
        "bins": [{"confidence": round(m, 3), "right": round(s, 3), "answers": c} for m, s, c in made],
    }


def diagram(found: dict[str, Any]) -> str:
    """Return the reliability diagram as SVG: a dot per bin, its size the number of answers."""

    def at(share: float) -> float:
        return 40 + 300 * share

    dots = "".join(
        f'<circle cx="{at(one["confidence"]):.1f}" cy="{380 - at(one["right"]):.1f}" '
        f'r="{3 + math.sqrt(one["answers"]):.1f}" fill="#2a78d6"/>'
        for one in found["bins"]
    )
    ticks = "".join(
        f'<text x="{at(n / 10):.0f}" y="358" text-anchor="middle">{n}</text>'
        f'<text x="32" y="{384 - at(n / 10):.0f}" text-anchor="end">{n * 10} %</text>'
        for n in range(0, 11, 2)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-20 0 400 400" '
        'font-family="sans-serif" font-size="11">'
        '<rect x="-20" width="400" height="400" fill="#fff"/>'
        f'<path d="M40 40V340H340" fill="none" stroke="#444"/><path d="M40 340L340 40" stroke="#999" '
        f'stroke-dasharray="4"/>{ticks}{dots}'
        '<text x="190" y="380" text-anchor="middle">confidence</text>'
        f'<text x="190" y="24" text-anchor="middle">share of right answers by confidence; '
        f"AUROC {found['auroc']}, ECE {found['ece']}</text></svg>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--read", type=int, default=0, metavar="N")
    parser.add_argument("--lists", type=Path)
    parser.add_argument("--as", dest="style", choices=(WORDS, SENTENCES), default=WORDS)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.read:
        asyncio.run(read(questions(options.lists), options.read, options.style))
    found = figures(json.loads(READINGS.read_text(encoding="utf-8")))
    if options.plot:
        options.plot.write_text(diagram(found), encoding="utf-8")
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
