"""
The questions and personas of the plain answers.

The answers of `TRAINING_PERSONAS` to `TRAINING_QUESTIONS` may train the reader of biases, and so may the
answers in `evals/answers` and `evals/reading`, which are of the same personas. Every other persona answers
`TEST_QUESTIONS`. So no text of a persona, and no answer to a question, is on both sides.

    python -m evals.biases.plain_questions test | python evals/answers/ask.py evals/biases/plain.jsonl
    python -m evals.biases.plain_questions training | python evals/answers/ask.py
    evals/biases/plain_training.jsonl
"""

import json
import random
import sys
from collections.abc import Iterator, Sequence

from evals.answers.judged import ALL, read_answers
from mavera.evaluation.items import QUESTIONS
from mavera.personas.builtin import PersonaLibrary

ANSWERS = 1_000
TOKENS = 90
SEED = 27
# The engine keeps the opening of a persona's prompt, so a persona answers this many questions in a row.
IN_A_ROW = 11

TRAINING_PERSONAS = (
    "Gen Z Consumer",
    "Mid-Market CFO",
    "Retiree on a Fixed Income",
    "Lagos Entrepreneur",
    "SMB Owner",
    "Healthcare",
    "Rural Midwest American",
    "UX Researcher",
    "Health-Conscious",
    "Gen Z Professional",
    "Real Estate",
    "Product Manager",
    "Hospitality",
    "Enterprise CTO",
    "Content Strategist",
    "Minimalist",
)

TRAINING_QUESTIONS = (
    "What is a good present for a neighbour?",
    "Would you rent a power drill instead of buying one?",
    "Which app could you not live without, and why?",
    "How did you choose your doctor?",
    "What do you think of shops that take no cash?",
    "Should children have a phone of their own?",
    "What was the best money you spent this year?",
    "Would you share your health data for a cheaper insurance?",
    "Why do you think people distrust banks?",
    "What did your parents do that you do differently?",
    "Does a famous face in an advertisement change your mind?",
    "How sure are you that your job will exist in ten years?",
)

TEST_QUESTIONS = (
    "Tell me about your work. What takes most of your time?",
    "Who helps you with the children or with older relatives, and how is that going?",
    "How did you find the last talk or training that you went to?",
    "What do you put on your skin, and how did you choose it?",
    "Would you take out a loan to renovate your kitchen?",
    "What do you think of natural remedies?",
    "How do you cook on an ordinary weekday?",
    "Is there a tradition that you keep, and does it still make sense to you?",
    "A streaming service raises its price by $3. What do you do?",
    "What do you think of working from home?",
    "Would you buy a heat pump, and what would you want to know first?",
    "Which brand have you used the longest, and why?",
    "Do you think young people today have it harder?",
    "What would make public transport better where you live?",
    "How do you decide how much to save?",
    "A new bottled drink promises more focus for $4. What is your reaction?",
    "What did you get wrong about the last thing you bought?",
    "What do experts get wrong in your field?",
    "How do you feel about the news these days?",
    "Would you let a self-driving taxi take you home?",
    "What makes a hotel worth coming back to?",
    "Why did your last project take as long as it did?",
)


def list_library_answers(*, trains: bool) -> list[str]:
    """
    Return answers of `mavera eval personas`.

    Those of `TRAINING_PERSONAS` to each third question train. Those of others to other questions test.
    """
    return [
        text
        for who, question, text in read_answers(ALL)
        if (who in TRAINING_PERSONAS) is trains and (QUESTIONS.index(question) % 3 == 0) is trains
    ]


def list_lines(part: str) -> Iterator[dict[str, str | int]]:
    names = [persona.name for persona in PersonaLibrary.load().list()]
    if part == "training":
        pairs = _pair(TRAINING_PERSONAS, TRAINING_QUESTIONS)
    else:
        pairs = _pair([name for name in names if name not in TRAINING_PERSONAS], TEST_QUESTIONS)[:ANSWERS]
    for persona, question in pairs:
        yield {"persona": persona, "question": question, "tokens": TOKENS}


def _pair(personas: Sequence[str], questions: Sequence[str]) -> list[tuple[str, str]]:
    """Return all pairs. The order is drawn, so that any beginning of the list is a sample of it."""
    drawn = random.Random(SEED)
    personas, questions = list(personas), list(questions)
    drawn.shuffle(personas)
    drawn.shuffle(questions)
    rows = [questions[start : start + IN_A_ROW] for start in range(0, len(questions), IN_A_ROW)]
    return [(persona, question) for row in rows for persona in personas for question in row]


if __name__ == "__main__":
    for line in list_lines(sys.argv[1]):
        print(json.dumps(line))
