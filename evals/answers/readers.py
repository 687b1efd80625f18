"""
Count what readers prefer: `python -m evals.answers.readers`.

    rankings.jsonl       {"reader", "rankings"} in a line: the letters of each case, best first
    second_draw.jsonl    the new answers of the same cases, drawn again, with the kinds as two other readers
                         ranked them, best first
    strict.jsonl         both draws, as two more readers ranked them who were told that nonsense and filler
                         weigh and that length is no merit; the third kind is the new answer, ended with its
                         first sentence end after thirty words, and is left out where that is the whole answer

The cases are those of answers-unlabelled.md as it is. If the page is written anew, they are to be ranked
again.
"""

import json
from pathlib import Path

from evals.answers.questions import KINDS

HERE = Path(__file__).parent
OLD, NEW, ENDED = KINDS[0], KINDS[2], "new, ended after 30 words"


def main() -> None:
    key = json.loads((HERE.parent / "answers-unlabelled-key.json").read_text(encoding="utf-8"))
    rankings = [
        json.loads(line)["rankings"]
        for line in (HERE / "rankings.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    for number, found in enumerate(rankings, start=1):
        for kind in KINDS[:2]:
            better = count_preferred(found, key, kind)
            print(f"reader {number}: the new answer before {kind!r} in {better} of {len(key)}")
    same = sum(len({one[0] for one in case}) == 1 for case in zip(*rankings, strict=True))
    print(f"the same first choice in {same} of {len(key)}")
    describe_second_draw()
    describe_strict_readers()


def describe_second_draw() -> None:
    lines = (HERE / "second_draw.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line)["rankings"] for line in lines]
    for number, orders in enumerate(zip(*cases, strict=True), start=1):
        for kind in KINDS[:2]:
            better = sum(order.index(KINDS[2]) < order.index(kind) for order in orders)
            print(f"second draw, reader {number}: new before {kind!r} in {better} of {len(orders)}")
    same = sum(one[0] == other[0] for one, other in cases)
    print(f"second draw: the same first choice in {same} of {len(cases)}")


def describe_strict_readers() -> None:
    lines = (HERE / "strict.jsonl").read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line)["rankings"] for line in lines]
    for number, orders in enumerate(zip(*cases, strict=True), start=1):
        new = sum(order.index(NEW if NEW in order else ENDED) < order.index(OLD) for order in orders)
        ended = sum(order.index(ENDED) < order.index(OLD) for order in orders)
        print(f"strict reader {number}: new before old in {new} of {len(orders)}, ended early in {ended}")


def count_preferred(rankings: list[str], key: list[list[str]], kind: str) -> int:
    """Return in how many cases the new answer stands before the one of `kind`."""
    count = 0
    for ranking, kinds in zip(rankings, key, strict=True):
        order = [kinds["ABC".index(letter)] for letter in ranking]
        count += order.index(KINDS[2]) < order.index(kind)
    return count


if __name__ == "__main__":
    main()
