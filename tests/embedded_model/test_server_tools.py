"""The whole loop with the real default model and no key: it looks something up, and reads a page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from mavera.tools.search.index import Document, SearchIndex
from tests.embedded_model.serving import serving
from tests.support.provider_stub import Providers, running_providers

pytestmark = pytest.mark.embedded

RETURNS = Document("index:returns.md", "Returns", "A jacket may be returned within 45 days, if unworn.")


@pytest.fixture(scope="module")
def providers() -> Iterator[Providers]:
    with running_providers() as providers:
        yield providers


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, providers: Providers) -> Iterator[openai.OpenAI]:
    data_dir: Path = tmp_path_factory.mktemp("server_tools")
    SearchIndex(data_dir / "search.db").add(RETURNS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAVERA_FETCH_ALLOW", "127.0.0.1")
        patch.setenv("MAVERA_FETCH_PORTS", str(providers.port))
        with serving(data_dir, "qwen2.5-coder-1.5b") as running:
            yield openai.OpenAI(base_url=running.base_url, api_key=running.key, max_retries=0, timeout=280)


def test_it_searches_the_operators_documents_and_answers_from_them(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model="mavera-1",
        input="Search our documents: within how many days may a jacket be returned?",
        tools=[{"type": "web_search"}],
        tool_choice={"type": "web_search_preview"},
        temperature=0,
        max_output_tokens=120,
    )

    assert response.output[0].type == "web_search_call"
    assert response.output[0].status == "completed"
    assert "45" in response.output_text


def test_it_reads_a_page_and_answers_from_it(client: openai.OpenAI, providers: Providers) -> None:
    named: Any = {"type": "tavily_extract"}
    response = client.responses.create(
        model="mavera-1",
        input=f"Read {providers.url}/page and tell me at what time the Oslo shop opens.",
        tools=[named],
        tool_choice=named,
        temperature=0,
        max_output_tokens=120,
    )

    assert response.output[0].type == "web_search_call"
    assert ("/page", {}, None) in providers.asked
    assert "nine" in response.output_text.lower() or "9" in response.output_text
