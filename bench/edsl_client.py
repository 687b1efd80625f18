"""
Ask a survey with EDSL, in the environment where EDSL is installed: `python bench/edsl_client.py < JOB`.

JOB is JSON: url, model, agents (name → description), questions (name, text, options), respondents, places.
The key is in OPENAI_COMPATIBLE_API_KEY. Prints {"seconds", "answers", "unusable"}, without its imports.
"""

import json
import sys
import time

from edsl import Agent, AgentList, Cache, Model, QuestionMultipleChoice, Survey


def main() -> None:
    job = json.load(sys.stdin)
    # Without a comment an answer is one line: EDSL's own setting for short answers.
    questions = [
        QuestionMultipleChoice(
            question_name=one["name"],
            question_text=one["text"],
            question_options=one["options"],
            include_comment=False,
        )
        for one in job["questions"]
    ]
    agents = AgentList([Agent(name=name, traits={"persona": text}) for name, text in job["agents"].items()])
    model = Model(job["model"], service_name="openai_compatible", base_url=job["url"], max_tokens=100)
    began = time.perf_counter()
    # An empty cache, and an answer of its own for each respondent: nothing is answered from memory.
    results = (
        Survey(questions)
        .by(agents)
        .by(model)
        .run(
            n=job["respondents"],
            cache=Cache(),
            max_concurrency=job["places"],
            disable_remote_inference=True,
            disable_remote_cache=True,
            progress_bar=False,
            print_exceptions=False,
        )
    )
    seconds = time.perf_counter() - began
    answers = [
        value for one in questions for value in results.select(f"answer.{one.question_name}").to_list()
    ]
    found = {"seconds": seconds, "answers": len(answers), "unusable": sum(one is None for one in answers)}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
