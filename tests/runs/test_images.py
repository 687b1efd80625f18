"""Images through both wire formats: fetched, checked, and handed on as the model needs them."""

import asyncio
import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import openai
import pytest
from aiohttp import web

from mavera.core.items import FunctionOutput, Image, Message, Text
from mavera.models.scripted import ScriptedModel
from tests.conftest import Serve, Served
from tests.support.images import data_url, png, poster

PNG = png()
QUESTION = "What is this?"
Site = Callable[..., str]


@contextmanager
def web_site(pages: dict[str, Any]) -> Iterator[int]:
    """Serve `pages` on 127.0.0.1 from a thread of its own, and yield the port."""
    loop = asyncio.new_event_loop()

    async def page(request: web.Request) -> web.StreamResponse:
        served = pages[request.path]
        if callable(served):
            served = await served(request)
        if isinstance(served, web.StreamResponse):
            return served
        return web.Response(body=served, content_type="image/png")

    async def start() -> tuple[web.AppRunner, int]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", page)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, runner.addresses[0][1]

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        runner, port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        yield port
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def allowing(port: int) -> dict[str, Any]:
    """Settings under which the test's own site may be fetched from."""
    return {"fetch_allow": "127.0.0.1", "fetch_ports": f"80,443,{port}"}


def ask_chat(served: Served, url: str, *, stream: bool = False) -> Any:
    parts: list[Any] = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": url}}]
    with served.client() as client:
        return client.chat.completions.create(
            model="mavera-1", messages=[{"role": "user", "content": parts}], stream=stream
        )


def ask_attachment(served: Served, url: str, *, stream: bool = False) -> Any:
    message: Any = {"role": "user", "content": QUESTION, "attachments": [{"type": "image", "url": url}]}
    with served.client() as client:
        return client.chat.completions.create(model="mavera-1", messages=[message], stream=stream)


def ask_response(served: Served, url: str, *, stream: bool = False) -> Any:
    parts: Any = [
        {"type": "input_text", "text": QUESTION},
        {"type": "input_image", "image_url": url, "detail": "high"},
    ]
    return respond(served, [{"role": "user", "content": parts}], stream=stream)


def respond(served: Served, items: Any, *, stream: bool = False) -> Any:
    with served.client() as client:
        return client.responses.create(model="mavera-1", input=items, stream=stream)


EVERY_WAY = [
    (ask_chat, "messages[0].content[1].image_url"),
    (ask_attachment, "messages[0].attachments[0].url"),
    (ask_response, "input[0].content[1].image_url"),
]


def images_seen(served: Served) -> list[Image]:
    """Return the images that the model was last given."""
    last = served.model.prompts[-1].items[-1]
    return [part for part in last.parts if isinstance(part, Image)]


@pytest.mark.parametrize(("ask", "_"), EVERY_WAY)
def test_a_model_that_sees_gets_a_data_urls_image_as_it_is(serve: Serve, ask: Any, _: str) -> None:
    served = serve()

    ask(served, data_url(PNG, "image/whatever"))

    (image,) = images_seen(served)
    assert image.url == data_url(PNG)
    assert served.model.prompts[-1].items[-1].text == QUESTION


@pytest.mark.parametrize(("ask", "_"), EVERY_WAY)
def test_an_image_behind_a_url_is_fetched_and_handed_on_as_a_data_url(serve: Serve, ask: Any, _: str) -> None:
    with web_site({"/a.png": PNG}) as port:
        served = serve(**allowing(port))
        ask(served, f"http://127.0.0.1:{port}/a.png")

    (image,) = images_seen(served)
    assert image.url == data_url(PNG)


BAD = {
    "text": (data_url(b"hello"), 422, "PNG, JPEG, GIF or WebP"),
    "svg": (data_url(b"<svg/>", "image/svg+xml"), 422, "PNG, JPEG, GIF or WebP"),
    "broken base64": ("data:image/png;base64,iVBORw0K*", 400, "base64"),
    "letters that are not ascii": ("data:image/png;base64,iVBORw0Kä", 400, "base64"),
    "no base64": ("data:image/png,abc", 400, "base64"),
    "no body": ("data:image/png;base64", 400, "base64"),
    "too many bytes": (data_url(PNG + bytes(3000)), 422, "larger than 2,000 bytes"),
    "too many pixels": (data_url(png(200, 51)), 422, "10,000 pixels"),
    "an inner address": ("http://169.254.169.254/latest/meta-data", 400, "public address"),
    "an inner name": ("http://localhost./", 400, "public address"),
    "another scheme": ("file:///etc/passwd", 400, "http and https"),
    "another port": ("http://127.0.0.1:22/", 400, "ports"),
    "no url": ("not a url", 400, "valid URL"),
}


@pytest.mark.parametrize(("ask", "param"), EVERY_WAY)
def test_a_bad_image_is_a_4xx_that_names_its_field(serve: Serve, ask: Any, param: str) -> None:
    served = serve(image_max_bytes=2000, image_max_pixels=10_000)

    for stream, (name, (url, status, said)) in product((False, True), BAD.items()):
        with pytest.raises(openai.APIStatusError) as refused:
            ask(served, url, stream=stream)
        told = refused.value
        assert (name, told.status_code, told.param) == (name, status, param)
        assert said in told.message
    assert served.model.prompts == []


def test_an_image_that_is_slow_to_be_refused_is_still_a_status_in_a_stream(serve: Serve) -> None:
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(1.5)  # longer than a stream waits for its model
        return web.Response(status=404)

    with web_site({"/slow.png": slow}) as port:
        served = serve(**allowing(port))
        with pytest.raises(openai.BadRequestError, match="404") as refused:
            ask_response(served, f"http://127.0.0.1:{port}/slow.png", stream=True)

    assert refused.value.param == "input[0].content[1].image_url"


def test_images_of_a_request_are_fetched_side_by_side(serve: Serve) -> None:
    waiting = {"now": 0, "most": 0}

    async def slow(_: web.Request) -> web.Response:
        waiting["now"] += 1
        waiting["most"] = max(waiting.values())
        await asyncio.sleep(0.5)
        waiting["now"] -= 1
        return web.Response(body=PNG, content_type="application/octet-stream")

    with web_site({"/slow.png": slow}) as port:
        served = serve(**allowing(port))
        part = {"type": "image_url", "image_url": {"url": f"http://127.0.0.1:{port}/slow.png"}}
        message: Any = {"role": "user", "content": [part] * 4}
        with served.client() as client:
            client.chat.completions.create(model="mavera-1", messages=[message])

    assert waiting["most"] == 4
    assert [image.url for image in images_seen(served)] == [data_url(PNG)] * 4


def test_too_many_images_are_refused_before_any_is_fetched(serve: Serve) -> None:
    served = serve(image_max_count=2)
    part = {"type": "input_image", "image_url": "http://169.254.169.254/"}
    items: Any = [{"role": "user", "content": [part, part]}, {"role": "user", "content": [part]}]

    with pytest.raises(openai.UnprocessableEntityError, match="may hold 2 images") as refused:
        respond(served, items)

    assert refused.value.param == "input[1].content[0].image_url"


def test_an_image_that_a_tool_returned_is_resolved_too(serve: Serve) -> None:
    served = serve()
    items: Any = [
        {"role": "user", "content": "Draw."},
        {"type": "function_call", "call_id": "call_1", "name": "draw", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "call_1",
            "output": [{"type": "input_image", "image_url": data_url(PNG)}],
        },
    ]

    respond(served, items)
    items[2]["output"][0]["image_url"] = data_url(b"no image")
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        respond(served, items)

    last = served.model.prompts[-1].items[-1]
    assert isinstance(last, FunctionOutput)
    assert isinstance(last.output[0], Image)
    assert refused.value.param == "input[2].output[0].image_url"


def test_where_fetching_is_off_data_urls_still_work(serve: Serve) -> None:
    served = serve(fetch_enabled=False)

    ask_chat(served, data_url(PNG))
    with pytest.raises(openai.BadRequestError, match="data URL"):
        ask_chat(served, "https://example.com/a.png")


def test_a_model_that_does_not_see_and_has_no_reader_is_a_422_that_says_what_to_set(serve: Serve) -> None:
    served = serve(ScriptedModel(sees_images=False), image_reading="never")

    with pytest.raises(openai.UnprocessableEntityError, match="MAVERA_VISION_BASE_URL") as refused:
        ask_chat(served, "http://127.0.0.1/never-fetched.png", stream=True)

    assert refused.value.param == "messages[0].content[1].image_url"


@pytest.mark.usefixtures("needs_ocr")
def test_a_model_that_does_not_see_is_told_what_was_read(serve: Serve) -> None:
    served = serve(ScriptedModel(sees_images=False))

    thin: Any = {"type": "input_image", "image_url": data_url(png(1, 50))}
    respond(served, [{"role": "user", "content": [thin]}])
    ask_response(served, data_url(poster("SUMMER SALE", "half price", kind="JPEG")))
    with pytest.raises(openai.UnprocessableEntityError, match="broken"):
        ask_response(served, data_url(PNG[:-30]))

    message = served.model.prompts[-1].items[-1]
    assert isinstance(message, Message)
    assert all(isinstance(part, Text) for part in message.parts)
    assert message.text.startswith(QUESTION + "\n\n[Image 1. You cannot see it.")
    assert '"SUMMER SALE"' in message.text
    assert "JPEG, 900 x 340 pixels" in message.text
    assert base64.b64encode(PNG).decode()[:20] not in message.text


def answering_upstream(seen: list[Any]) -> Callable[[web.Request], Any]:
    """Return a page that notes each chat request and answers it with one word."""

    async def page(request: web.Request) -> web.Response:
        seen.append(await request.json())
        choice = {"index": 0, "message": {"role": "assistant", "content": "A cat."}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})

    return page


@contextmanager
def upstream(seen: list[Any]) -> Iterator[str]:
    """Run a server that answers chat requests and notes them in `seen`; yield its base URL."""
    with web_site({"/v1/chat/completions": answering_upstream(seen)}) as port:
        yield f"http://127.0.0.1:{port}/v1"


def test_an_upstream_that_sees_gets_the_image_in_openais_form(serve: Serve) -> None:
    seen: list[Any] = []
    with upstream(seen) as base_url:
        served = serve(
            model_backend="upstream", upstream_base_url=base_url, upstream_model="v", upstream_vision=True
        )
        response = ask_response(served, data_url(PNG))

    assert response.output_text == "A cat."
    assert seen[0]["messages"][-1]["content"] == [
        {"type": "text", "text": QUESTION},
        {"type": "image_url", "image_url": {"url": data_url(PNG), "detail": "high"}},
    ]


def test_an_upstream_that_does_not_see_is_never_asked(serve: Serve) -> None:
    seen: list[Any] = []
    with upstream(seen) as base_url:
        served = serve(model_backend="upstream", upstream_base_url=base_url, upstream_model="t")
        with pytest.raises(openai.UnprocessableEntityError, match="MAVERA_UPSTREAM_VISION"):
            ask_response(served, data_url(PNG))

    assert seen == []


def test_a_vision_model_answers_the_turns_with_images_and_no_others(serve: Serve) -> None:
    seen: list[Any] = []
    with upstream(seen) as base_url:
        served = serve(ScriptedModel(["text"]), vision_base_url=base_url, vision_model="eyes")
        without = respond(served, "Hm?")
        with_image = ask_response(served, data_url(PNG))
        message: Any = {
            "role": "user",
            "content": "Hm?",
            "attachments": [{"type": "image", "url": data_url(PNG)}],
        }
        with openai.OpenAI(base_url=served.base_url, api_key=served.test_key, max_retries=0) as tested:
            completion = tested.chat.completions.create(model="mavera-1", messages=[message])

    assert without.output_text == "text"
    assert with_image.output_text == "A cat."
    assert [request["model"] for request in seen] == ["eyes"]
    assert completion.choices[0].message.content == "This is a scripted answer to: Hm?"


def test_an_image_and_canvas_mode_go_together(serve: Serve) -> None:
    served = serve(ScriptedModel(["Look:\n\n`", "``html\n<p>Hi", "</p>\n`", "``\n"]))
    message: Any = {
        "role": "user",
        "content": QUESTION,
        "attachments": [{"type": "image", "url": data_url(PNG)}],
    }

    with served.client() as client:
        completion = client.chat.completions.create(
            model="mavera-1", messages=[message], extra_body={"canvas_mode": True}
        )

    assert "<artifact " in str(completion.choices[0].message.content)
    assert "```" not in str(completion.choices[0].message.content)
