"""
Count the loops of recorded answers, as they were and as the embedded model would have ended them.

    python -m evals.loops

The answers are those of other evals, by the embedded model as personas. No model is asked: the stage reads a
recorded answer word by word, as it would read it from the model.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from mavera.core.events import ModelEvent, RunCompleted, TextDelta
from mavera.core.speech import has_loop
from mavera.core.usage import Usage
from mavera.evaluation.measures import Share
from mavera.models.embedded.loop_watch import LoopWatch

FOLDER = Path(__file__).parents[1]
RECORDED = ("answers/new.jsonl", "stance/answers.jsonl", "emotion/population.jsonl", "biases/plain.jsonl")
_PIECE = re.compile(r"\s*\S+|\s+$")


def main() -> None:
    texts = list(dict.fromkeys(text for name in RECORDED for text in read_answers(FOLDER / name)))
    ended = [end_loops(text) for text in texts]
    for label, shown in (("as recorded", texts), ("as ended", ended)):
        print(f"{label}: {format_share(Share(sum(map(has_loop, shown)), len(shown)))} with a loop")
    changed = [(old, new) for old, new in zip(texts, ended, strict=True) if old != new]
    print(f"ended early: {format_share(Share(len(changed), len(texts)))}")
    for old, new in changed:
        print(f"- {len(old.split())} words, then {len(new.split())}: … {new[-80:]!r}")


def read_answers(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        text = (found.get("text") or found.get("answer")) if isinstance(found, dict) else found[-1]
        yield str(text).strip()


def end_loops(text: str) -> str:
    """Return `text` as the embedded model would pass it on."""
    watch = LoopWatch()
    passed: list[ModelEvent] = []
    said: list[ModelEvent] = [TextDelta(piece) for piece in _PIECE.findall(text)]
    for event in (*said, RunCompleted("stop", Usage())):
        passed += watch.feed(event)
        if watch.must_stop:
            break
    return "".join(event.text for event in passed if isinstance(event, TextDelta))


def format_share(share: Share) -> str:
    low, high = share.interval
    return f"{share.hits:g} of {share.cases}, {share.value:.2%} ({low:.2%} to {high:.2%})"


if __name__ == "__main__":
    main()
