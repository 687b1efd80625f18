"""
Ask the language model for a verdict too, if the verdict reader is unsure.

    question, answer → prompt with eight examples → log-probabilities of four letters
    verdict + letters → the weighted sum of both → verdict

The two readers are wrong about different answers, so both together are right more often than each alone. The
weights were fitted on the answers of `verdicts.jsonl` and `library.jsonl` in evals/reading
(`python -m evals.reading --fit`).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from mavera.core.events import TokenLogprob
from mavera.core.items import make_message
from mavera.core.prompt import Prompt, Sampling
from mavera.reading.verdict import STANCES, Stance, Verdict

# The model is not asked if the verdict has at least this probability.
SURE = 0.8
LETTERS: Mapping[str, Stance] = {"A": "yes", "B": "no", "C": "depends", "D": "none"}
# The log-probability of a letter outside the likeliest tokens.
FLOOR = -12.0
_MOST_CHARACTERS = 1500

_SYSTEM = """\
You read what an answer says to its question, and reply with one letter.
A: the answer is yes
B: the answer is no
C: it depends, or the answer is torn
D: the answer takes no position"""
_EXAMPLES = (
    ("Would you take the night bus home?", "A cab is eighteen pounds, so I'm on that bus every Friday.", "A"),
    ("Should schools teach cooking?", "They can't even teach spelling. Leave cooking to the parents.", "B"),
    ("Would you rent out your spare room?", "To a student I know, maybe. To strangers, never.", "C"),
    ("Do you like the new park?", "The park is where the tannery was.", "D"),
    ("Würden Sie umziehen?", "Wenn die Miete dort billiger ist, würde ich es mir überlegen.", "C"),
    ("¿Comprarías ese sofá?", "Es feo y caro. No lo quiero ni regalado.", "B"),
    ("Is a dishwasher worth the money?", "Mine gave me back an hour a day.", "A"),
    ("Would you lend him the car?", "He came by on Tuesday with his brother.", "D"),
)
# The weights of the reader's and of the model's logarithms, and the constant of each stance.
_READER, _MODEL = 0.88, 1.72
_BIASES = (0.17, 0.01, -0.61, 0.43)
_SMALLEST = 1e-6


def build_prompt(question: str, answer: str) -> Prompt:
    """Return the prompt for one letter. Its prefix is the same for all answers, so caches can reuse it."""
    items = [make_message("system", _SYSTEM)]
    for asked, said, letter in _EXAMPLES:
        items += [make_message("user", _show(asked, said)), make_message("assistant", letter)]
    items.append(make_message("user", _show(question[:_MOST_CHARACTERS], answer[:_MOST_CHARACTERS])))
    return Prompt(
        tuple(items),
        max_output_tokens=1,
        sampling=Sampling(temperature=0.0),
        top_logprobs=20,
        preferences=frozenset({"temperature", "max_output_tokens", "top_logprobs"}),
    )


def _show(question: str, answer: str) -> str:
    return f"Question: {question}\nAnswer: {answer}"


def find_letters(token: TokenLogprob) -> dict[Stance, float] | None:
    """Return the log-probability of each stance from the first token, or None if the token has none."""
    found = dict.fromkeys(LETTERS.values(), FLOOR)
    for one in (token, *token.top):
        stance = LETTERS.get(one.token.strip())
        if stance is not None:
            found[stance] = max(found[stance], FLOOR, one.logprob)
    return found if max(found.values()) > FLOOR else None


def add_readings(verdict: Verdict, letters: Mapping[Stance, float]) -> Verdict:
    """Return the verdict of both readers. The sentence is the one that the reader found."""
    own = (math.log(max(_SMALLEST, value)) for value in verdict.probabilities)
    scores = [
        _READER * log + _MODEL * letters[stance] + bias
        for log, stance, bias in zip(own, STANCES, _BIASES, strict=True)
    ]
    probabilities = _to_shares(math.exp(score - max(scores)) for score in scores)
    stance = STANCES[probabilities.index(max(probabilities))]
    return replace(verdict, stance=stance, probabilities=probabilities)


def _to_shares(odds: Iterable[float]) -> tuple[float, ...]:
    values = tuple(odds)
    return tuple(value / sum(values) for value in values)
