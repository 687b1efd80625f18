"""Draw the questions that each persona answers, the same ones every time."""

import random
from collections.abc import Sequence

SEED = 26


def draw_questions(personas: Sequence[str], questions: Sequence[str], each: int) -> dict[str, list[str]]:
    """
    Return `each` questions for every persona, in the order of `questions`.

    Half of them have an even number and half an odd one, because the classifier of distinctness learns from
    one half and is tested on the other. Every question is drawn about equally often.
    """
    if each >= len(questions):
        return {persona: list(questions) for persona in personas}
    drawn: dict[str, list[str]] = {persona: [] for persona in personas}
    for parity in (0, 1):
        numbers = range(parity, len(questions), 2)
        wanted = (each + 1 - parity) // 2
        dice = random.Random(SEED + parity)  # noqa: S311 - a draw to repeat, not a secret
        deck: list[int] = []
        for persona in personas:
            hand: list[int] = []
            while len(hand) < wanted:
                if not any(number not in hand for number in deck):
                    deck += dice.sample(numbers, len(numbers))
                number = next(number for number in deck if number not in hand)
                deck.remove(number)
                hand.append(number)
            drawn[persona] += [questions[number] for number in hand]
    return {persona: sorted(hand, key=questions.index) for persona, hand in drawn.items()}
