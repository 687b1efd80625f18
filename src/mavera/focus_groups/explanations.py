"""
Explain the result of a question in sentences: its type, its base and its flags.

The report and the console show the same sentences.
"""

from mavera.focus_groups.schemas import QuestionResult

TYPE_NAMES = {
    "nps": "Net promoter score",
    "likert": "Agreement",
    "multiple_choice": "Choice",
    "open_ended": "In their own words",
    "rating": "Rating",
    "yes_no": "Yes or no",
    "ranking": "Ranking",
    "slider": "Slider",
    "matrix": "Matrix",
    "semantic_differential": "Semantic differential",
    "conjoint": "Conjoint",
    "maxdiff": "MaxDiff",
}


def describe_base(result: QuestionResult) -> str:
    """Return how many rows the file has for a question, and what its interval rests on."""
    parts = [f"Rows in the file: {result.base:,}"]
    parts += [
        f"{name} {count:,}"
        for name, count in (("missing", result.missing), ("failed", result.failed))
        if count
    ]
    if isinstance(result.interval_from, str):
        parts.append(f"interval from {result.interval_from}")
    elif isinstance(result.interval_missing, str) and result.type != "open_ended":
        parts.append(result.interval_missing.rstrip("."))
    if result.assumed:
        parts.append("rests on the assumed correlation: " + ", ".join(result.assumed))
    return "; ".join(parts) + "."


def explain_flag(flag: str) -> str:
    """Return a flag such as `order_gap 0.21` as a sentence. An unknown one stays as it is."""
    name, _, value = flag.partition(" ")
    texts = {
        "order_gap": f"The two orders of the answers differ by {value} on the logit scale.",
        "flat": f"The personas' answers are almost uniform (entropy {value} of 1).",
        "failed_cells": f"The model gave no usable answer in some cells, which are not counted: {value}.",
        "no_answered_cell": "No cell of this question was answered.",
        "max_applied": f"The options added up to more than the maximum, and were lowered {value}.",
        "exclusive_lowered": f"An exclusive option left the others too little room, and was lowered {value}.",
        "worst_lowered": f"An item was best and worst too often. Its worst share was lowered {value}.",
        "left_discussion": f"Personas that left a discussion, because an answer of theirs failed: {value}.",
        "read_as_shares": f"The model was asked for the shares of 100 people {value}.",
    }
    return texts.get(name, flag)
