"""
Draw a hundred answers for two readers, and count what they say: `python -m evals.answers.judged [--draw]`.

    after.jsonl (mavera eval personas --answers) → 100 drawn by a seed → two readers, apart from each other
    judged.jsonl    {"reader", "reason", "supports", "topic"} in a line: y or n for each answer as drawn

`reason` says whether an answer gives a reason, `supports` whether that reason carries its view, and `topic`
whether it answers its question.
`written.jsonl` has answers that a large language model wrote as the eight personas of the comparison. They
all answer their question, so what the rule makes of them is the most that it can give.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from evals.answers.questions import QUESTIONS as COMPARED
from evals.answers.remedies import format_share
from mavera.evaluation.items import QUESTIONS
from mavera.evaluation.measures import Share
from mavera.evaluation.wording import Embed, find_topics, measure_reasons
from mavera.personas.builtin import PersonaLibrary
from mavera.reading.encoder import SentenceEncoder

HERE = Path(__file__).parent
AFTER = HERE / "after.jsonl"
ALL = HERE / "all.jsonl"
DRAWN, SEED = 100, 26
Answer = tuple[str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draw", action="store_true", help="print the hundred answers for a reader")
    options = parser.parse_args()
    answers = read_answers(AFTER)
    drawn = random.Random(SEED).sample(range(len(answers)), min(DRAWN, len(answers)))
    if options.draw:
        for number, at in enumerate(drawn, start=1):
            who, question, text = answers[at]
            print(f"{number}. [{who}] {question}\n   {' / '.join(text.split(chr(10)))}\n")
        return
    embed = SentenceEncoder().embed
    for line in (*describe_judged(answers, drawn, embed), *describe_written(embed)):
        print(line)


def read_answers(path: Path) -> list[Answer]:
    """Return (name of the persona, question, text) of each answer, in an order that no run changes."""
    names = {persona.id: persona.name for persona in PersonaLibrary.load().list()}
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        key, text = json.loads(line)
        kind, persona, question = key.split("|", 2)
        if kind == "open":
            found.append((names[persona], question, text))
    return sorted(found)


def describe_judged(answers: Sequence[Answer], drawn: Sequence[int], embed: Embed) -> Iterator[str]:
    """Yield what the readers and the rules say of the answers that were drawn."""
    lines = (HERE / "judged.jsonl").read_text(encoding="utf-8").splitlines()
    readers = [json.loads(line) for line in lines]
    for kind in ("reason", "supports", "topic"):
        said = [[letter == "y" for letter in reader[kind]] for reader in readers]
        for reader, verdicts in zip(readers, said, strict=True):
            yield f"{kind}, {reader['reader']}: {format_share(Share(sum(verdicts), len(verdicts)))}"
        same = [len(set(pair)) == 1 for pair in zip(*said, strict=True)]
        both = Share(sum(all(pair) for pair in zip(*said, strict=True)), len(same))
        yield f"{kind}: both yes {format_share(both)}, the same {sum(same)} of {len(same)}"
    hits = find_topics([(ask, text) for _, ask, text in answers], QUESTIONS, embed)
    by_rule = [hits[at] for at in drawn]
    yield f"topic, by the rule: {format_share(Share(sum(by_rule), len(by_rule)))}"
    yield f"reason, by the rule: {format_share(measure_reasons(answers[at][2] for at in drawn))}"


def describe_written(embed: Embed) -> Iterator[str]:
    """Yield what the rule says of answers that were written to be on topic."""
    lines = map(json.loads, (HERE / "written.jsonl").read_text(encoding="utf-8").splitlines())
    hits = find_topics([(line["question"], line["text"]) for line in lines], (*QUESTIONS, *COMPARED), embed)
    yield f"topic of written answers, by the rule: {format_share(Share(sum(hits), len(hits)))}"


if __name__ == "__main__":
    main()
