"""
Count what two readers say of the reports on plain texts: `python -m evals.biases.judged`.

    judged.jsonl    a report in a line: its source, bias and evidence, whether each reader finds it right, and
                    whether it is still reported

The readers are language models that knew neither each other nor where a report came from. Among the reports
were some on texts that were written to show the bias (`written`), to see whether the readers find any right.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "judged.jsonl"
Line = dict[str, Any]


def main() -> None:
    lines = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    by_source: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        by_source[line["source"]].append(line)
    print("| Text | Reports | Right by one reader | By the other | Still reported | Right by both |")
    print("|---|---|---|---|---|---|")
    for source, own in by_source.items():
        still = [line for line in own if line["still_reported"]]
        one, other = (sum(line["right"][reader] for line in own) for reader in range(2))
        both = sum(all(line["right"]) for line in still)
        print(f"| {source} | {len(own)} | {one} | {other} | {len(still)} | {both} |")
    same = sum(line["right"][0] == line["right"][1] for line in lines)
    print(f"\nThe readers say the same of {same} of {len(lines)}.")


if __name__ == "__main__":
    main()
