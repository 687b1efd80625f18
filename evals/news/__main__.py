"""
Whether news relevance tells what a newsroom would care about from what it would not.

    python -m evals.news [--json]

`labelled.txt` has short answers with a label each. The weights in `mavera.analysis.news` were set
by hand on its tune half; the figures are of the other half: AUROC, and accuracy at the middle of
the scale.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from evals.confidence.__main__ import auroc
from mavera.analysis.news import score_news

MIDDLE = 5.5


def figures() -> dict[str, Any]:
    lines = (Path(__file__).parent / "labelled.txt").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|", 2)] for line in lines if not line.startswith("#")]
    found = {}
    for part in ("tune", "test"):
        scored = [(score_news("", text).score, label == "1") for split, label, text in rows if split == part]
        right = sum((score > MIDDLE) == label for score, label in scored)
        found[part] = {
            "answers": len(scored),
            "auroc": round(auroc(scored), 3),
            "accuracy": round(right / len(scored), 3),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    found = figures()
    print(json.dumps(found) if parser.parse_args().json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
