"""The pages of studies: a finished one with 2,000 respondents and hostile texts, its links, and new ones."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from structlog.testing import capture_logs

from mavera.accounts import workspaces
from mavera.accounts.workspaces import NewWorkspace
from tests.conftest import Served
from tests.console.finished_studies import repeat_study, run_study
from tests.console.visitors import (
    Visitor,
    count_fewest,
    hidden_of,
    run_on_store,
    sign_in,
    stranger,
    text_of,
)

MOST_QUERIES = 8
TAG = re.compile(r"<(script|img|b)\b[^>]*>")


@pytest.fixture(scope="module")
def study(served: Served, visitor: Visitor, tmp_path_factory: pytest.TempPathFactory) -> str:
    study_id = run_study(served, tmp_path_factory.mktemp("study"))
    visitor.get(f"studies/{study_id}", timeout=60)  # the first reader waits for the libraries of statistics
    return study_id


def build_form(**changes: str) -> dict[str, str]:
    fields = {
        "mode": "form", "form_id": "one", "name": "Tea", "size": "30", "seed": "1", "count": "1",
        "more_personas": "gen-z-consumer\nboomer", "q0.type": "yes_no", "q0.id": "q1", "q0.text": "Tea?",
    }  # fmt: skip
    return {**fields, **changes}


def test_a_finished_study_shows_every_question_with_chart_table_base_and_method(
    visitor: Visitor, study: str
) -> None:
    page = visitor.get(f"studies/{study}")
    text = text_of(page)

    assert page.status_code == 200
    assert page.text.count('<section class="card question"') == 7
    assert page.text.count('<svg class="chart"') >= 12
    assert page.text.count('<details class="chart-table">') == page.text.count('<svg class="chart"')
    assert text.count("Rows in the file: 2,000") == 7
    assert "Simulated answers. Not a sample of people." in text
    assert "letters@1" in text
    assert "without personas" in text


def test_hostile_texts_are_texts_everywhere(visitor: Visitor, study: str) -> None:
    for path in ("studies", f"studies/{study}", f"studies/{study}/respondents", f"studies/new?copy={study}"):
        page = visitor.get(path)
        assert page.status_code == 200
        found = [tag[0] for tag in TAG.finditer(page.text) if ' src="/console/static/' not in tag[0]]
        assert found == [], path
        assert "{{7*7}}" in page.text or "respondents" in path


def test_pages_of_a_study_read_little(visitor: Visitor, study: str) -> None:
    paths = ("studies", f"studies/{study}", f"studies/{study}/respondents", f"studies/{study}/answers/q7")
    for path in paths:
        assert count_fewest(visitor, path) <= MOST_QUERIES, path


def test_a_filter_shows_one_persona_and_one_cell(visitor: Visitor, study: str) -> None:
    everybody = visitor.get(f"studies/{study}").text
    persona = re.search(r'<option value="(c\w{24})">', everybody)
    assert persona is not None
    page = visitor.get(f"studies/{study}", params={"persona": persona[1], "cell": "a"})

    assert "only" in text_of(page)
    assert "Rows in the file: 2,000" not in page.text
    assert page.text.count('class="key-line"') == 0  # one persona has no interval
    assert f"charts/q1?persona={persona[1]}&amp;cell=a" in page.text
    assert visitor.get(f"studies/{study}", params={"cell": "zz"}).status_code == 400


def test_a_chart_comes_as_a_file_of_its_own(visitor: Visitor, study: str) -> None:
    drawing = visitor.get(f"studies/{study}/charts/q3")
    root = ElementTree.fromstring(drawing.text)
    texts = ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")]

    assert drawing.headers["content-type"].startswith("image/svg+xml")
    assert "attachment" in drawing.headers["content-disposition"]
    assert "What speaks for it?" in texts
    assert any("rows in the file: 2,000" in text for text in texts)
    assert any("Simulated answers" in text for text in texts)
    assert visitor.get(f"studies/{study}/charts/q9").status_code == 404


@pytest.mark.parametrize(
    "key", ["q1-personas", "q2-groups", "q2-cells", "q4-means", "q5-utilities", "q6-worths1"]
)
def test_every_kind_of_chart_has_its_file(visitor: Visitor, study: str, key: str) -> None:
    ElementTree.fromstring(visitor.get(f"studies/{study}/charts/{key}").text)


def test_answers_and_respondents_come_page_by_page(visitor: Visitor, study: str) -> None:
    answers = visitor.get(f"studies/{study}/answers/q7", params={"cell": "b"})
    assert "9 answers in words" in text_of(answers)
    first = visitor.get(f"studies/{study}/respondents")
    assert "1 to 50 of 2,000" in text_of(first)
    last = visitor.get(f"studies/{study}/respondents", params={"after": "1980"})
    assert "1981 to 2000 of 2,000" in text_of(last)
    assert "Next" not in text_of(last)
    assert len(first.content) < 200_000


@pytest.mark.parametrize("kind", ["html", "xlsx", "csv", "sav", "triples", "json", "cells"])
def test_every_file_can_be_taken(visitor: Visitor, study: str, kind: str) -> None:
    page = visitor.get(f"studies/{study}").text
    assert f"export?format={kind}" in page
    file = visitor.get(f"studies/{study}/export", params={"format": kind})
    assert file.status_code == 200
    assert file.content
    assert "attachment" in file.headers["content-disposition"]


def test_two_waves_stand_side_by_side(served: Served, visitor: Visitor, study: str) -> None:
    second = repeat_study(served, study)
    assert second != study
    both = {"first": study, "second": second}
    assert count_fewest(visitor, "studies/compare", params=both) <= MOST_QUERIES
    page = visitor.get("studies/compare", params=both)
    assert "Would you recommend it?" in page.text
    assert "paired t test" in text_of(page)
    assert '<svg class="chart"' in page.text
    assert (
        "two different studies"
        in visitor.get("studies/compare", params={"first": study, "second": study}).text
    )


def test_a_link_shows_the_study_to_a_stranger_and_nothing_else(
    served: Served, visitor: Visitor, study: str
) -> None:
    page = visitor.get(f"studies/{study}")
    made = visitor.post(f"studies/{study}/shares", {"form_id": hidden_of(page, "form_id"), "days": "3"})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    url = re.search(r"http://[^<]+/console/shared/[\w-]{32}", made.text)
    assert url is not None
    path = "/console/shared/" + url[0].rpartition("/")[2]

    reader = stranger(served)
    shown = reader.get(path)
    assert shown.status_code == 200
    assert shown.headers["cache-control"] == "no-store"
    assert shown.headers["referrer-policy"] == "no-referrer"
    assert shown.text.count('<section class="card question"') == 7
    links = set(re.findall(r'(?:href|action|src|data-chart)="(/[^"#?]*)', shown.text))
    assert {link for link in links if not link.startswith(("/console/static/", path))} == set()
    assert reader.get(f"{path}/charts/q1").status_code == 200
    assert reader.get(f"{path}/export").status_code == 404
    assert (
        reader.get(f"/console/w/{visitor.workspace_id}/studies/{study}", follow_redirects=False).status_code
        == 303
    )
    assert url[0] not in visitor.get(f"studies/{study}").text

    share = re.search(r"/shares/(c\w{24})/revoke", visitor.get(f"studies/{study}").text)
    assert share is not None
    visitor.post(f"studies/{study}/shares/{share[1]}/revoke")
    gone = reader.get(path)
    assert gone.status_code == 404
    assert "expired or was revoked" in gone.text


def test_the_same_form_makes_one_link(visitor: Visitor, study: str) -> None:
    page = visitor.get(f"studies/{study}")
    form = {"form_id": hidden_of(page, "form_id"), "days": "1"}
    assert "/console/shared/" in visitor.post(f"studies/{study}/shares", form).text
    again = visitor.post(f"studies/{study}/shares", form)
    assert "/console/shared/" not in again.text
    assert again.text.count("/revoke") == 1


def test_a_link_for_a_thousand_days_is_refused(visitor: Visitor, study: str) -> None:
    answer = visitor.post(f"studies/{study}/shares", {"form_id": "x", "days": "1000"})
    assert answer.status_code == 400
    assert "1 to 365 days" in answer.text


def test_a_form_is_estimated_before_it_starts(visitor: Visitor) -> None:
    before = visitor.get("studies").text.count("/studies/fg_")
    page = visitor.post("studies/new", build_form(do="estimate"))
    assert "costs 85 credits" in text_of(page)
    assert "Nothing has started" in page.text
    assert visitor.get("studies").text.count("/studies/fg_") == before

    started = visitor.post("studies/new", build_form(do="start", form_id=hidden_of(page, "form_id")))
    assert "/studies/fg_" in str(started.url)
    assert "Waiting for a worker" in started.text
    again = visitor.post("studies/new", build_form(do="start", form_id=hidden_of(page, "form_id")))
    assert str(again.url).endswith("/studies")
    assert visitor.get("studies").text.count("/studies/fg_") == before + 1


def test_mistakes_of_a_form_name_their_question(visitor: Visitor) -> None:
    form = build_form(do="estimate", **{"count": "2", "q1.type": "multiple_choice", "q1.text": "Which?"})
    page = visitor.post("studies/new", form)
    assert page.status_code == 422
    assert '<a href="#question-2">Question 2</a>' in page.text
    assert 'value="Which?"' in page.text


def test_mistakes_of_yaml_name_line_and_field(visitor: Visitor) -> None:
    text = "name: Tea\npersonas: [boomer]\nquestions:\n  - {id: q1, type: yes_no, text: Tea?, colour: <b>}\n"
    page = visitor.post("studies/new", {"mode": "yaml", "do": "estimate", "yaml": text})
    assert page.status_code == 422
    assert 'data-line="4"' in page.text
    assert "questions[0].colour" in page.text
    assert "&lt;b&gt;" in page.text
    assert "colour: &lt;b&gt;}" in page.text.partition("<textarea")[2]


def test_questions_are_added_changed_and_removed_without_script(visitor: Visitor) -> None:
    page = visitor.post("studies/new", build_form(do="add"))
    assert 'id="question-2"' in page.text
    form = build_form(
        do="remove:0",
        **{"count": "2", "q1.type": "conjoint", "q1.text": "Which?", "q1.attributes": "price: 1, 2"},
    )
    page = visitor.post("studies/new", form)
    assert 'id="question-2"' not in page.text
    assert 'value="Which?"' in page.text
    assert 'name="q0.attributes"' in page.text
    assert "price: 1, 2</textarea>" in page.text


def test_a_form_goes_on_as_yaml_that_means_the_same(visitor: Visitor) -> None:
    form = build_form(
        do="yaml",
        cells="a: price = $3\nb: price = $4",
        **{"q0.type": "multiple_choice", "q0.options": "Green\nBlack", "q0.order": "on", "q0.multiple": "on"},
    )
    page = visitor.post("studies/new", form)
    assert page.status_code == 200
    text = re.search(r"<textarea[^>]*>(.*?)</textarea>", page.text, re.DOTALL)
    assert text is not None
    for part in ("type: multiple_choice", "text: Green", "order: random", "price: $4", "multiple: true"):
        assert part in text[1]


def test_a_copy_keeps_cells_that_did_not_change(visitor: Visitor, study: str) -> None:
    page = visitor.get("studies/new", params={"copy": study})
    text = re.search(r"<textarea[^>]*>(.*?)</textarea>", page.text, re.DOTALL)
    assert text is not None
    yaml = text[1].replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", '"').replace("&amp;", "&")
    form = {"mode": "yaml", "do": "estimate", "yaml": yaml.replace("&#39;", "'"), "source": study}
    answer = visitor.post("studies/new", form)
    assert "0 reads of the model" in text_of(answer)
    assert "keep their answers" in answer.text


def test_a_study_that_waits_is_followed_cancelled_and_deleted(visitor: Visitor) -> None:
    started = visitor.post("studies/new", build_form(do="start", form_id="waits"))
    path = "studies/" + str(started.url).rpartition("/")[2]
    assert f'data-progress="{visitor.address(path)}/progress"' in started.text
    with visitor.http.stream("GET", visitor.address(f"{path}/progress")) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        seen = [next(lines) for _ in range(4)]
    assert "event: progress" in seen
    assert '"total":' in str(seen)
    assert visitor.post(f"{path}/cancel").status_code == 200
    gone = visitor.post(f"{path}/delete")
    assert str(gone.url).endswith("/studies")
    assert visitor.get(path).status_code == 404


def test_the_stream_of_a_finished_study_ends_at_once(visitor: Visitor, study: str) -> None:
    answer = visitor.get(f"studies/{study}/progress")
    assert answer.text.count("event: progress") == 1
    assert answer.text.rstrip().endswith('event: end\ndata: {"status":"COMPLETED"}')


def test_another_workspace_has_no_such_study(served: Served, study: str) -> None:
    other = run_on_store(served, lambda db: workspaces.create(db, NewWorkspace("Other", "pro"), now=1))
    stranger_there = sign_in(served, "admin", other)
    for path in ("", "/respondents", "/answers/q7", "/export?format=csv", "/charts/q1", "/progress"):
        assert stranger_there.get(f"studies/{study}{path}").status_code == 404
    assert stranger_there.post(f"studies/{study}/delete").status_code == 404
    assert "no study yet" in stranger_there.get("studies").text


def test_the_log_has_no_secret_of_a_link(served: Served) -> None:
    with capture_logs() as lines:
        stranger(served).get("/console/shared/AbCdEf/charts/q1")
    assert "/console/shared/…" in {line.get("path") for line in lines}
    assert "AbCdEf" not in str(lines)
