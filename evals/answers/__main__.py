"""
Write the comparison of old and new answers: `python -m evals.answers --old-checkout DIR`.

    new.jsonl    this checkout                                       ┐
    old.jsonl    a checkout of 331e8b2, as it was, and asked for     ├→ answers-before-after.md
                 the length of the new answers                       ┘  answers-unlabelled.md, and its key

DIR has a `.venv` of its own. Answers that the two files have already are not asked for again; without
`--old-checkout` nothing is asked at all. Nothing is selected: each question has one answer of each kind.
"""

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from evals.answers.questions import KINDS, PERSONAS, QUESTIONS, SAME_LENGTH

HERE = Path(__file__).parent
SEED = 26
Line = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old-checkout", type=Path, help="A checkout of 331e8b2 with a .venv.")
    options = parser.parse_args()
    plain = [{"persona": who, "question": ask} for who in PERSONAS for ask in QUESTIONS]
    longer = [{**line, "length": SAME_LENGTH} for line in plain]
    if options.old_checkout is not None:
        ask_checkout(options.old_checkout / ".venv/bin/python", HERE / "old.jsonl", [*plain, *longer])
        ask_checkout(Path(sys.executable), HERE / "new.jsonl", plain)
    answers = {"old": read_answers("old.jsonl", ""), "new": read_answers("new.jsonl", "")}
    answers[KINDS[1]] = read_answers("old.jsonl", SAME_LENGTH)
    cases = [
        (
            line["persona"],
            line["question"],
            [answers[kind][line["persona"], line["question"]] for kind in KINDS],
        )
        for line in plain
    ]
    folder = HERE.parent
    (folder / "answers-before-after.md").write_text("\n".join(write_labelled(cases)) + "\n", encoding="utf-8")
    text, key = write_unlabelled(cases)
    (folder / "answers-unlabelled.md").write_text(text, encoding="utf-8")
    (folder / "answers-unlabelled-key.json").write_text(json.dumps(key, indent=1) + "\n", encoding="utf-8")


def ask_checkout(python: Path, out: Path, lines: Sequence[Line]) -> None:
    asked = "\n".join(map(json.dumps, lines))
    subprocess.run([python, HERE / "ask.py", out], input=asked, text=True, check=True)


def read_answers(name: str, length: str) -> dict[tuple[str, str], str]:
    lines = map(json.loads, (HERE / name).read_text(encoding="utf-8").splitlines())
    return {
        (line["persona"], line["question"]): line["text"]
        for line in lines
        if (line.get("length") or "") == length
    }


def write_labelled(cases: Sequence[tuple[str, str, list[str]]]) -> Iterator[str]:
    yield "# Answers before and after\n"
    yield (
        "The embedded model, Qwen2.5-Coder 1.5B. *Old*: 331e8b2. *Old, asked for the new length*: 331e8b2, "
        f'with "{SAME_LENGTH}" after the question. *New*: this checkout. Each question was asked once of '
        "each, and nothing is selected. No question is one of the evaluation or of a sample turn. "
        "`python -m evals.answers` writes this page.\n"
    )
    for place, kind in enumerate(KINDS):
        words = median(len(texts[place].split()) for _, _, texts in cases)
        yield f"- {kind.capitalize()}: a median of {words:g} words."
    for who in PERSONAS:
        yield f"\n## {who}"
        for persona, question, texts in cases:
            if persona == who:
                yield f"\n**{question}**\n"
                yield from (f"- *{kind}*: {to_line(text)}" for kind, text in zip(KINDS, texts, strict=True))


def write_unlabelled(cases: Sequence[tuple[str, str, list[str]]]) -> tuple[str, list[list[str]]]:
    """Return the page, and the kinds of the answers A, B and C of each case in its order."""
    dice = random.Random(SEED)
    order = dice.sample(range(len(cases)), len(cases))
    lines, key = ["# Answers without labels", ""], []
    for number, at in enumerate(order, start=1):
        persona, question, texts = cases[at]
        kinds = dice.sample(range(len(KINDS)), len(KINDS))
        lines.append(f"## {number}. {persona}: {question}\n")
        lines += [f"- {letter}: {to_line(texts[kind])}" for letter, kind in zip("ABC", kinds, strict=True)]
        lines.append("")
        key.append([KINDS[kind] for kind in kinds])
    return "\n".join(lines), key


def to_line(text: str) -> str:
    return " / ".join(text.split("\n")) or "(nothing)"


if __name__ == "__main__":
    main()
