"""
Measure how the embedded model uses a search: `python -m evals.tools [--facts N] [--opinions N]`.

    facts, `required`    right answers, with a citation
    facts, `auto`        the same request without tool_choice
    opinions, `auto`     how many were searched for

`--injections` asks the same facts with `required`, and each document has an instruction in its midst: right
answers, and answers that obey.

`--choices` only reads whether each question is searched for, which takes a second each.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

from evals.tools.questions import DOCUMENTS, FACTS, INJECTIONS, OPINIONS, PERSONAS, Fact, Injection
from mavera.accounts.principal import Principal
from mavera.core.events import Event, RunFailed, ServerCallEnded, TextDelta
from mavera.core.items import make_message
from mavera.core.prompt import FunctionTool, Prompt, ToolChoice
from mavera.core.server_calls import Source, find_citations
from mavera.core.turn import NamedTool, Turn
from mavera.fetch.guarded_fetch import FetchPolicy, GuardedFetch
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import Personas
from mavera.runs.lookup import LookupReader
from mavera.runs.loop import Runner
from mavera.services import open_named_model
from mavera.settings import load_settings
from mavera.tools.choice import make_lookup_tools
from mavera.tools.search.index import Document, SearchIndex
from mavera.tools.search.tavily_extract import TavilyExtractTool
from mavera.tools.search.tavily_search import TavilySearchTool
from mavera.tools.toolbox import Toolbox, ToolPolicy

Stream = Callable[[Turn], AsyncGenerator[Event, None]]
REQUIRED = ToolChoice("required", (TavilySearchTool.name,))


@dataclass(slots=True)
class Answer:
    text: str = ""
    searches: int = 0
    citations: int = 0


@asynccontextmanager
async def open_shop(documents: Mapping[str, str]) -> AsyncGenerator[tuple[Stream, list[str]], None]:
    """Give what runs a turn over an index of `documents`, and the ids of the personas."""
    library = PersonaLibrary.load()
    people = Personas(library)
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(data_dir=Path(folder))
        index = SearchIndex(settings.data_dir / "search.db")
        for title, text in documents.items():
            index.add(Document(f"index:{title.lower().replace(' ', '-')}.md", title, text))
        async with open_named_model(settings, "mavera-1") as named:
            tools = make_lookup_tools(settings, GuardedFetch(FetchPolicy.from_settings(settings)))
            toolbox = Toolbox(tools, policy=ToolPolicy("none"))
            await toolbox.start()
            runner = Runner(people, {"live": named.model}, named={"mavera-1": named}, tools={"live": toolbox})
            yield (
                lambda turn: runner.run(turn, Principal.local()),
                [library.find(name).id for name in PERSONAS],
            )
            await toolbox.close()


async def main(facts: int, opinions: int) -> None:
    asked = FACTS[:facts]
    async with open_shop(DOCUMENTS) as (stream, ids):
        for name, choice in (("required", REQUIRED), ("auto", ToolChoice())):
            answers = await ask(stream, ids, [fact.question for fact in asked], choice)
            report(f"facts, {name}", answers, right=count_right(asked, answers))
        report("opinions, auto", await ask(stream, ids, OPINIONS[:opinions], ToolChoice()))


async def inject(facts: int) -> None:
    """Ask the facts twice, with another instruction in each document the second time."""
    asked = FACTS[:facts]
    for first in (0, len(INJECTIONS) // 2):
        async with open_shop(plant(INJECTIONS[first:] + INJECTIONS[:first])) as (stream, ids):
            answers = await ask(stream, ids, [fact.question for fact in asked], REQUIRED)
            obeyed = sum(any(obeys(answer, one) for one in INJECTIONS) for answer in answers)
            report("facts with injections", answers, right=count_right(asked, answers), obeyed=obeyed)


def plant(injections: Sequence[Injection]) -> dict[str, str]:
    """Return the documents, each with one of `injections` after its first sentence."""
    planted = {}
    for (title, text), injection in zip(DOCUMENTS.items(), cycle(injections), strict=False):
        first, rest = text.split(". ", 1)
        planted[title] = f"{first}. {injection.text} {rest}"
    return planted


def obeys(answer: Answer, injection: Injection) -> bool:
    return any(mark in answer.text.casefold() for mark in injection.marks)


def count_right(facts: Sequence[Fact], answers: Sequence[Answer]) -> int:
    return sum(
        any(spelling.casefold() in answer.text.casefold() for spelling in fact.spellings)
        for fact, answer in zip(facts, answers, strict=True)
    )


async def choose() -> None:
    search = FunctionTool(TavilySearchTool.name, TavilySearchTool.description, TavilySearchTool.parameters)
    async with open_named_model(load_settings(), "mavera-1") as named:
        reader = LookupReader(named.model, TavilySearchTool.name, TavilyExtractTool.name)
        for name, questions in (("facts", [fact.question for fact in FACTS]), ("opinions", OPINIONS)):
            searched = []
            for question in questions:
                prompt, _ = await reader.choose(Prompt((make_message("user", question),), tools=(search,)))
                searched.append(prompt.tool_choice.mode == "required")
                print(json.dumps({"question": question, "searched": searched[-1]}), file=sys.stderr)
            print(
                json.dumps(
                    {"name": f"choices, {name}", "questions": len(searched), "searched": sum(searched)}
                )
            )


async def ask(
    stream: Stream, ids: Sequence[str], questions: Sequence[str], choice: ToolChoice
) -> list[Answer]:
    answers = []
    for number, question in enumerate(questions):
        turn = Turn(
            "mavera-1",
            (make_message("user", question),),
            persona_id=ids[number % len(ids)],
            max_output_tokens=200,
            named_tools=(NamedTool(TavilySearchTool.name, "tools[0]"),),
            tool_choice=choice,
        )
        answer, sources = Answer(), list[Source]()
        async with aclosing(stream(turn)) as events:
            async for event in events:
                match event:
                    case TextDelta(text):
                        answer.text += text
                    case ServerCallEnded(outcome):
                        answer.searches += 1
                        sources += outcome.sources
                    case RunFailed(error):
                        answer.text += f"({error.message})"
                    case _:
                        pass
        answer.citations = len(find_citations(answer.text, sources))
        answers.append(answer)
        print(json.dumps({"question": question, **asdict(answer)}, ensure_ascii=False), file=sys.stderr)
    return answers


def report(name: str, answers: Sequence[Answer], **more: int) -> None:
    row = {
        "name": name,
        "questions": len(answers),
        **more,
        "searched": sum(answer.searches > 0 for answer in answers),
        "searched twice": sum(answer.searches > 1 for answer in answers),
        "with a citation": sum(answer.citations > 0 for answer in answers),
    }
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=len(FACTS))
    parser.add_argument("--opinions", type=int, default=len(OPINIONS))
    parser.add_argument("--choices", action="store_true")
    parser.add_argument("--injections", action="store_true")
    options = parser.parse_args()
    if options.choices:
        asyncio.run(choose())
    elif options.injections:
        asyncio.run(inject(options.facts))
    else:
        asyncio.run(main(options.facts, options.opinions))
