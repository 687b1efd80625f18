"""A person is drafted in parts that keep the facts of the description and copy nothing of the example."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from mavera.core.events import ModelEvent, RunCompleted, RunStarted, TextDelta
from mavera.core.items import Message
from mavera.core.prompt import Prompt
from mavera.core.usage import Usage
from mavera.errors import ServiceUnavailable
from mavera.models.scripted import ScriptedModel
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.custom import PLAIN_TURNS
from mavera.personas.persona import Profile
from mavera.runs.persona_draft import EXAMPLE, draft, find_copies
from mavera.runs.persona_parts import EXAMPLE_PARTS, tidy_part
from mavera.runs.sample_turns import choose_questions, cut_answer

LIBRARY = PersonaLibrary.load()
LIFE = {
    "gender": "woman",
    "first_name": "Ines",
    "surname": "Roldan",
    "age": 41,
    "occupation": "a ward nurse",
    "town": "Gijon",
    "country": "Spain",
    "currency": "euros",
    "household": "with a partner and a cat",
    "income": "27,400 euros a year",
    "education": "a nursing degree from Oviedo",
}
WISHES = {
    "values": ["sleep", "her ward"],
    "goals": ["get off nights by spring", "see her mother weekly"],
    "pains": ["noise at noon", "the 6:40 bus is often full"],
    "unknowns": ["the stock market", "farming"],
}
BUYING = {
    "triggers": ["a colleague swears by it", "it comes before noon"],
    "objections": ["it needs an account", "she cannot return it"],
    "channels": ["the ward's chat", "local radio"],
    "decision_style": "at once for small things, after a week for large ones",
    "money": "puts 150 euros aside each month",
    "technology": "an old phone and the ward's tablet",
}
VOICE = {
    "register": "fast, and you leave sentences unfinished",
    "reading_level": "plain words",
    "phrases": ["look", "and that was that"],
    "big_five": dict.fromkeys(
        ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism"), "middle"
    )
    | {"extraversion": "high"},
}
ANSWERS = (
    "Yes, because cheap ones cost me my back within one winter on the ward.",
    "No, I have waited longer at the till for the person with the ticket.",
    "It depends on how late I come home, and on who is awake by then.",
    "That we sleep all day. I lie awake after most nights, because the street is loud at noon.",
)
UNRELATED = "I stand in long queues on Saturdays, because the shop is closed before."


class Drafter(ScriptedModel):
    """Answers each part with its line, and then the questions with `answers`, of which the last one stays."""

    def __init__(self, *lives: dict[str, Any], answers: tuple[str, ...] = ANSWERS, **parts: Any) -> None:
        super().__init__(keeps_prompts=False)
        self.asked: list[Prompt] = []
        self._lives = list(lives) or [LIFE]
        self._parts = {"wishes": WISHES, "buying": BUYING, "voice": VOICE, **parts}
        self._answers = list(answers)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[ModelEvent, None]:
        self.asked.append(prompt)
        yield RunStarted()
        yield TextDelta(self._write(prompt.format.name))
        yield RunCompleted("stop", Usage(output_tokens=100))

    def _write(self, part: str) -> str:
        if not part:
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        life = self._lives.pop(0) if part == "life" else None
        return msgspec.json.encode(life or self._parts[part]).decode()


def draft_profile(model: Drafter, description: str = "Nurses on permanent nights in Spain") -> Profile:
    return asyncio.run(draft(model, "Night nurse", description, None)).profile


def test_the_parts_become_a_whole_person_with_turns_of_their_own() -> None:
    model = Drafter()

    drafted = asyncio.run(draft(model, "Night nurse", "Nurses on permanent nights in Spain", None))

    profile = drafted.profile
    assert profile.demographics.identity == "41, a ward nurse"
    assert profile.goals == ("get off nights by spring", "see her mother weekly")
    assert (profile.big_five.extraversion, profile.big_five.openness) == (78, 50)
    assert tuple(turn.answer for turn in profile.turns) == ANSWERS
    assert {turn.stance for turn in profile.turns} == {"yes", "no", "undecided"}
    assert drafted.usage.output_tokens == 800
    assert msgspec.json.decode(msgspec.json.encode(profile), type=Profile) == profile


def test_the_sample_questions_are_answered_by_the_drafted_person() -> None:
    model = Drafter()

    draft_profile(model)

    items = [item for item in model.asked[-1].items if isinstance(item, Message)]
    assert "Ines Roldan" in items[0].text
    assert "Gijon, Spain" in items[0].text
    assert [item.text for item in items if item.text in ANSWERS] == list(ANSWERS[:3])
    assert (
        items[-1]
        .text.splitlines()[1]
        .startswith("(You are one of these: Nurses on permanent nights in Spain.")
    )
    assert max(prompt.max_output_tokens or 9999 for prompt in model.asked) <= 320


def test_the_answers_begin_with_the_side_that_is_asked_for() -> None:
    model = Drafter()

    draft_profile(model)

    yes, no, undecided, life = (p.format.begins for p in model.asked if not p.format.name)
    assert yes.lower().startswith(("yes", "i think so"))
    assert no.lower().startswith(("no", "i don't"))
    assert "depend" in undecided or "yes and no" in undecided.lower()
    assert life == ""


def test_the_currency_of_the_country_is_named_before_the_income() -> None:
    model = Drafter()

    draft_profile(model)

    schema = model.asked[0].format.schema
    assert schema is not None
    names = list(schema["$defs"]["Life"]["properties"])
    assert names.index("country") < names.index("currency") < names.index("income")


def test_a_person_in_the_examples_country_may_have_its_currency() -> None:
    model = Drafter({**LIFE, "town": "Leeds", "country": "England", "currency": "pounds"})

    draft_profile(model)

    assert [prompt.format.name for prompt in model.asked[:2]] == ["life", "wishes"]


def test_ages_and_gender_of_the_description_are_the_only_ones_that_the_schema_allows() -> None:
    model = Drafter({**LIFE, "age": 30})

    draft_profile(model, "Single mothers of 25-34 in Spain")

    schema = model.asked[0].format.schema
    assert schema is not None
    properties = schema["$defs"]["Life"]["properties"]
    assert (properties["age"]["minimum"], properties["age"]["maximum"]) == (25, 34)
    assert properties["gender"]["enum"] == ["woman"]


def test_facts_that_the_model_lost_are_put_back() -> None:
    lost = {
        **LIFE,
        "town": "Austin",
        "country": "Texas",
        "household": "alone with a dog",
        "income": "$90,000 a year",
    }
    text = "Single mothers aged 41 in Leeds with two children, who earn £28,000 a year"

    who = draft_profile(Drafter(lost), text).demographics

    assert (who.place, who.income) == ("Leeds", "£28,000 a year")
    assert who.household == "single, two children"


def test_figures_that_no_part_repeats_are_named() -> None:
    text = "Nurses in Spain who take the bus at 6:40 and wait 35 minutes"

    drafted = asyncio.run(draft(Drafter(), "Night nurse", text, None))

    assert drafted.unmentioned == ("35",)


def test_a_copy_of_the_example_is_drafted_again() -> None:
    example = LIBRARY.find(EXAMPLE).demographics
    model = Drafter({**LIFE, "household": example.household}, LIFE)

    profile = draft_profile(model)

    assert find_copies(profile, LIBRARY.find(EXAMPLE)) == []
    assert [prompt.format.name for prompt in model.asked[:5]] == ["life", "wishes", "buying", "voice", "life"]


def test_a_model_that_only_copies_is_refused() -> None:
    copied = {**LIFE, "household": LIBRARY.find(EXAMPLE).demographics.household}

    with pytest.raises(ServiceUnavailable, match="usable"):
        draft_profile(Drafter(copied, copied))


def test_six_words_in_a_row_of_the_example_are_a_copy() -> None:
    example = LIBRARY.find(EXAMPLE)
    words = " ".join(example.turns[0].answer.split()[:7])

    copied = msgspec.structs.replace(draft_profile(Drafter()), money=words)

    assert find_copies(copied, example) == ["texts"]


def test_answers_that_copy_or_break_character_are_asked_for_again() -> None:
    copied = PLAIN_TURNS[0].answer
    assistant = "As an AI language model, I do not have shoes or a preference for shoes."
    model = Drafter(answers=(copied, ANSWERS[0], assistant, *ANSWERS[1:]))

    profile = draft_profile(model)

    assert tuple(turn.answer for turn in profile.turns) == ANSWERS


def test_a_plain_turn_takes_the_place_of_an_answer_that_never_fits() -> None:
    model = Drafter(answers=("Yes.", "Yes.", *ANSWERS[1:]))

    profile = draft_profile(model)

    assert profile.turns[0] == PLAIN_TURNS[0]
    assert tuple(turn.answer for turn in profile.turns[1:]) == ANSWERS[1:]


def test_an_answer_about_the_described_life_says_a_word_of_it() -> None:
    corrected = draft_profile(Drafter(answers=(*ANSWERS[:3], UNRELATED, ANSWERS[3])))
    kept = draft_profile(Drafter(answers=(*ANSWERS[:3], UNRELATED, "No.")))

    assert corrected.turns[3].answer == ANSWERS[3]
    assert kept.turns[3].answer == UNRELATED


def test_wishes_that_could_be_anybodys_are_asked_for_once_more() -> None:
    common = {**WISHES, "goals": ["sleep more", "see her mother weekly"], "pains": ["noise", "full buses"]}
    model = Drafter(wishes=common)

    profile = draft_profile(model)

    assert [prompt.format.name for prompt in model.asked[:4]] == ["life", "wishes", "wishes", "buying"]
    assert profile.goals == ("sleep more", "see her mother weekly")


def test_an_answer_that_says_one_thing_twice_is_asked_for_again() -> None:
    twice = "No, I do not trust the people at the till. I do not trust the people there at the till, no."
    model = Drafter(answers=(ANSWERS[0], twice, *ANSWERS[1:]))

    assert tuple(turn.answer for turn in draft_profile(model).turns) == ANSWERS


def test_a_part_that_does_not_fit_is_refused_after_its_tries() -> None:
    with pytest.raises(ServiceUnavailable, match="usable"):
        draft_profile(Drafter(wishes={"values": []}))


def test_a_part_that_copies_its_example_is_asked_for_again_and_last_without_it() -> None:
    example = msgspec.to_builtins(EXAMPLE_PARTS[1])
    model = Drafter(wishes={**WISHES, "goals": [example["goals"][0].upper(), "sleep"]})

    with pytest.raises(ServiceUnavailable, match="usable"):
        draft_profile(model)

    tries = [prompt for prompt in model.asked if prompt.format.name == "wishes"]
    assert [prompt.prefix_length for prompt in tries] == [9, 9, 1]


def test_each_part_continues_the_conversation_of_the_one_before() -> None:
    model = Drafter()

    draft_profile(model)

    life, wishes, buying, voice = model.asked[:4]
    assert wishes.items[: len(life.items)] == life.items
    assert buying.items[: len(wishes.items)] == wishes.items
    assert voice.items[: len(buying.items)] == buying.items


def test_the_loose_end_of_a_text_that_met_its_limit_is_cut() -> None:
    assert tidy_part({"goals": ["help others, and", "sleep"]}) == {"goals": ["help others", "sleep"]}


def test_the_questions_of_a_persona_stay_the_same_and_those_of_others_differ() -> None:
    drawn = [tuple(choose_questions(f"audience {number}")) for number in range(12)]

    assert drawn[0] == tuple(choose_questions("audience 0"))
    assert len(set(drawn)) > 6
    assert all(len({question for _, question in one}) == 4 for one in drawn)


def test_a_long_answer_ends_with_its_last_whole_sentence() -> None:
    sentence = "I paid for it once and it broke. "

    answer = cut_answer(sentence * 20 + "And then")

    assert len(answer) <= 400
    assert answer.endswith("it broke.")
