"""The pages of personas: browse, compare, the three pipelines, edits with a clash, import and export."""

import base64
import json
import re
from typing import Any

import pytest

from mavera.personas.builtin import PersonaLibrary
from tests.conftest import Served
from tests.console.visitors import Visitor, count_fewest, hidden_of, sign_in, sign_in_with_key, text_of

MOST_QUERIES = 8
HOSTILE = "<script>alert(1)</script> {{7*7}}"
LIBRARY = list(PersonaLibrary.load())


def build_form(**changes: str) -> dict[str, str]:
    fields = {
        "form_id": "one", "pipeline": "intermediate", "name": "Clinic buyer", "type": "B2B",
        "description": "Buys for a clinic", "details.pains": "Long tenders\nOld software",
    }  # fmt: skip
    return {**fields, **changes}


def make_persona(visitor: Visitor, **changes: str) -> str:
    page = visitor.get("personas/new")
    made = visitor.post("personas/new", build_form(form_id=hidden_of(page, "form_id"), **changes))
    assert made.status_code == 200, made.text
    return str(made.url).rpartition("/")[2]


def read_fields(page: Any) -> dict[str, str]:
    """Return the fields of the form on a page, with their values."""
    return {
        name: value.replace("&#39;", "'").replace("&#34;", '"').replace("&amp;", "&")
        for name, value in [
            *re.findall(r'<input name="([^"]+)"[^>]* value="([^"]*)"', page.text),
            *re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text),
            *re.findall(r'<textarea name="([^"]+)"[^>]*>([^<]*)</textarea>', page.text),
            *re.findall(r'<select name="([^"]+)">.*?<option[^>]* selected>([^<]*)', page.text),
        ]
    }


def test_cards_show_what_each_one_cares_about_page_by_page(visitor: Visitor) -> None:
    first = visitor.get("personas")
    assert first.text.count('<li class="card person">') == 24
    assert "Cares about" in first.text
    following = re.search(r'href="([^"]*\?after=[^"]*)"', first.text)
    assert following is not None
    second = visitor.get(following[1].replace("&amp;", "&"))
    names = set(re.findall(r'<h2><a href="[^"]*">([^<]*)', first.text))
    assert not names & set(re.findall(r'<h2><a href="[^"]*">([^<]*)', second.text))


def test_a_search_forgives_a_typing_error_and_an_empty_one_says_what_to_do(visitor: Visitor) -> None:
    assert "SMB Owner" in visitor.get("personas", params={"search": "smb ownr"}).text
    nothing = visitor.get("personas", params={"search": "zzzzqqq"})
    assert "No persona matches." in nothing.text
    own = visitor.get("personas", params={"owner": "library", "category": "Expert"})
    assert own.text.count('<li class="card person">') == sum(one.category == "Expert" for one in LIBRARY)
    assert visitor.get("personas", params={"after": "cunknown"}).status_code == 200


def test_two_personas_stand_side_by_side(visitor: Visitor) -> None:
    first, second = LIBRARY[:2]
    page = visitor.get("personas/compare", params={"id": [first.id, second.id]})
    text = text_of(page)
    for persona in (first, second):
        assert persona.name in text
        assert persona.values[0].replace("'", "&#39;") in page.text
    for wrong in ([first.id], [one.id for one in LIBRARY[:4]], [first.id, first.id]):
        assert "Choose two or three" in visitor.get("personas/compare", params={"id": wrong}).text
    assert visitor.get("personas/compare", params={"id": [first.id, "c" + "0" * 24]}).status_code == 404


def test_a_library_persona_shows_no_prompt_and_cannot_be_changed(visitor: Visitor) -> None:
    persona = LIBRARY[0]
    page = visitor.get(f"personas/{persona.id}")
    assert persona.turns[0].answer[:40].replace("'", "&#39;") not in page.text
    assert "/edit" not in page.text
    for path in ("edit", "versions", "export"):
        assert visitor.get(f"personas/{persona.id}/{path}").status_code in (403, 404)
    form = re.search(r"#form=([\w-]+)", page.text)
    assert form is not None
    assert json.loads(base64.urlsafe_b64decode(form[1] + "=" * (-len(form[1]) % 4))) == {
        "personas": [persona.id]
    }


def test_the_three_pipelines_make_a_persona_each_and_charge_for_it(visitor: Visitor) -> None:
    page = visitor.get("personas/new")
    assert "It costs 300 credits." in text_of(page)
    drafted = make_persona(visitor, pipeline="north_star", name="Night nurse", type="")
    assert "Who speaks" in visitor.get(f"personas/{drafted}").text
    outlined = make_persona(visitor)
    assert "Long tenders; Old software" in visitor.get(f"personas/{outlined}").text
    weights = {"details.mcda_weights": "price = 5\nrisk = 3", "details.is_localized": "on"}
    specified = make_persona(visitor, pipeline="advanced", name="Specified", **weights)
    text = text_of(visitor.get(f"personas/{specified}"))
    assert "price 5 of 5; risk 3 of 5" in text
    assert "made for 300 credits" in text


def test_a_draft_is_shown_in_the_form_before_it_costs_anything(visitor: Visitor) -> None:
    fields = build_form(
        pipeline="north_star", name="Drafted first", type="", description="Nurses of 41 in Leeds"
    )

    page = visitor.post("personas/draft", fields)

    assert page.status_code == 200
    assert "Nothing is stored yet" in text_of(page)
    assert 'name="profile.demographics.place" value="Leeds"' in page.text
    assert "Draft again" in page.text
    assert "Drafted first" not in visitor.get("personas", params={"owner": "own"}).text
    wrong = visitor.post("personas/draft", build_form(pipeline="north_star", name="No text", description=""))
    assert wrong.status_code == 400
    assert "'description' is missing" in text_of(wrong).replace("&#39;", "'")

    made = visitor.post("personas/new", read_fields(page))
    assert made.status_code == 200, text_of(made)
    assert "Leeds" in made.text


def test_the_same_form_makes_one_persona(visitor: Visitor) -> None:
    form = build_form(form_id="twice", name="Only once")
    visitor.post("personas/new", form)
    again = visitor.post("personas/new", form)
    assert str(again.url).endswith("/personas")
    assert visitor.get("personas", params={"search": "Only once"}).text.count('<li class="card person">') == 1


def test_a_mistake_keeps_what_was_typed(visitor: Visitor) -> None:
    answer = visitor.post("personas/new", build_form(form_id="m", type="", name="No type yet"))
    assert answer.status_code == 400
    assert "'type' is missing" in text_of(answer).replace("&#39;", "'")
    assert 'value="No type yet"' in answer.text
    assert "Old software</textarea>" in answer.text


def test_hostile_names_are_texts_on_every_page(visitor: Visitor) -> None:
    persona = make_persona(visitor, name=HOSTILE, **{"details.pains": HOSTILE, "details.goals": HOSTILE})
    other = LIBRARY[0].id
    paths: list[tuple[str, Any]] = [
        (f"personas/{persona}", None),
        (f"personas/{persona}/edit", None),
        (f"personas/{persona}/versions", None),
        ("personas", {"owner": "own"}),
        ("personas/compare", {"id": [persona, other]}),
        ("studies/new", None),
    ]
    for path, query in paths:
        page = visitor.get(path, params=query)
        assert page.status_code == 200, path
        assert "<script>alert" not in page.text, path
        assert "{{7*7}}" in page.text, path


def test_the_second_of_two_editors_is_refused_and_sees_both_versions(visitor: Visitor) -> None:
    persona = make_persona(visitor, name="Two editors")
    mine = build_form(version="1", name="Two editors", **{"details.pains": "Long tenders\nNew rules"})
    theirs = build_form(version="1", name="Two editors", **{"details.goals": "Calm nights"})
    assert str(visitor.post(f"personas/{persona}/edit", theirs).url).endswith(persona)

    refused = visitor.post(f"personas/{persona}/edit", mine)
    assert refused.status_code == 409
    text = text_of(refused)
    assert "Somebody else stored version 2" in text
    assert "<ins>Calm nights</ins>" in refused.text
    assert "<ins>New rules</ins>" in refused.text
    assert "New rules</textarea>" in refused.text
    assert "Calm nights" in visitor.get(f"personas/{persona}").text

    visitor.post(f"personas/{persona}/edit", {**mine, "version": hidden_of(refused, "version")})
    assert "New rules" in visitor.get(f"personas/{persona}").text
    versions = visitor.get(f"personas/{persona}/versions")
    assert [int(one) for one in re.findall(r"<h2>Version (\d+)", versions.text)] == [3, 2, 1]
    assert "<del>Calm nights</del>" in versions.text


def test_a_whole_person_survives_an_edit(visitor: Visitor) -> None:
    persona = make_persona(visitor, pipeline="north_star", name="Whole person", type="")
    page = visitor.get(f"personas/{persona}/edit")
    fields = read_fields(page)
    fields["profile.demographics.place"] = "Cádiz"
    saved = visitor.post(f"personas/{persona}/edit", fields)
    assert saved.status_code == 200, text_of(saved)
    versions = visitor.get(f"personas/{persona}/versions")
    assert versions.text.count("<ins>") == 1
    assert "<ins>Cádiz</ins>" in versions.text


def test_the_preview_gets_the_messages_of_the_unsaved_persona(visitor: Visitor) -> None:
    answer = visitor.post("personas/preview", build_form(name="Unsaved", **{"details.pains": "Wet shoes"}))
    messages = answer.json()["input"]
    assert messages[0]["role"] == "system"
    assert "Wet shoes" in messages[0]["content"]
    assert [one["role"] for one in messages[1:3]] == ["user", "assistant"]
    wrong = visitor.post("personas/preview", build_form(name="x"))
    assert wrong.status_code == 422
    assert "readable characters" in wrong.json()["error"]["message"]
    assert "Unsaved" not in visitor.get("personas", params={"owner": "own"}).text


def test_an_export_is_imported_again_and_names_that_exist_stay(visitor: Visitor, served: Served) -> None:
    persona = make_persona(visitor, name="Round trip")
    file = visitor.get(f"personas/{persona}/export")
    assert "attachment" in file.headers["content-disposition"]
    page = visitor.get("personas/import")
    files = [
        ("files", ("round.toml", file.content)),
        ("files", ("more.csv", b"name,pains\nNew one,rain;wind\n")),
    ]
    answer = visitor.http.post(
        visitor.address("personas/import"), data={"form_id": hidden_of(page, "form_id")}, files=files
    )
    text = text_of(answer)
    assert "1 persona made." in text
    assert "Round trip" in text
    assert "New one" in text


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("a.toml", b"name = ", "cannot be read as TOML"),
        ("a.csv", b"nom\nx\n", "no column"),
        ("a.exe", b"MZ", "neither .toml nor .csv"),
        ("<b>.toml", b"colour = 1", "colour"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(visitor: Visitor, name: str, body: bytes, said: str) -> None:
    answer = visitor.http.post(
        visitor.address("personas/import"), data={"form_id": "f"}, files=[("files", (name, body))]
    )
    assert answer.status_code == 400
    assert said in text_of(answer)
    assert "<b>" not in answer.text


def test_a_persona_is_deleted_with_its_versions(visitor: Visitor) -> None:
    persona = make_persona(visitor, name="Short life")
    assert str(visitor.post(f"personas/{persona}/delete").url).endswith("/personas")
    assert visitor.get(f"personas/{persona}").status_code == 404


def test_pages_of_personas_read_little(visitor: Visitor) -> None:
    persona = make_persona(visitor, name="Counted")
    for path in (
        "personas",
        f"personas/{persona}",
        f"personas/{persona}/edit",
        f"personas/{persona}/versions",
    ):
        assert count_fewest(visitor, path) <= MOST_QUERIES, path


def test_a_reader_may_not_write(served: Served) -> None:
    admin = sign_in(served, "admin")
    key = admin.post(
        "settings/keys/new", {"form_id": "reader", "name": "Reader", "scopes": ["personas:read"]}
    )
    found = re.search(r"mvra_live_\w{39}", key.text)
    assert found is not None
    reader = sign_in_with_key(served, found[0])
    page = reader.get("personas")
    assert page.status_code == 200
    assert "personas/new" not in page.text
    for path in ("personas/new", "personas/import"):
        assert reader.get(path).status_code == 403
    assert reader.post("personas/preview", build_form()).status_code == 403
    assert reader.get("studies").status_code == 403
