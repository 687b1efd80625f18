"""What tools made, in a folder and in a bucket: kept, served by links, in parts, and removed when old."""

import asyncio
import hashlib
import json
import shutil
import time
import tracemalloc
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from typer.testing import CliRunner

from mavera.accounts import workspaces
from mavera.accounts.audit import Actor
from mavera.accounts.data.deletion import delete_workspace, purge_deleted
from mavera.accounts.data.retention import Kind, change_terms
from mavera.accounts.workspaces import NewWorkspace
from mavera.cli.doctor import app as doctor
from mavera.errors import ConfigurationError, InvalidRequest, NotFound, ServiceUnavailable
from mavera.media.store import MediaStore
from mavera.settings import Settings, load_settings
from mavera.storage.database import Database
from mavera.tools.choice import choose_media_files
from tests.conftest import Serve, Served
from tests.support.bucket import Bucket, running_bucket
from tests.support.provider_stub import MP4, Providers, png
from tests.support.tool_runs import SUCCEEDED, ask, calls, images, media_of, ran, says, video
from tests.support.upstream_stub import Upstream

BLOCK = hashlib.sha256(b"a block").digest() * 32768  # 1 MiB
BLOCKS = 23
ADA = Actor("person", "console_w", "Ada")
LONG = MP4 + BLOCK * BLOCKS


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with running_bucket() as bucket:
        yield bucket


@pytest.fixture(params=["folder", "bucket"])
def kept_in(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings that say where media are kept."""
    if request.param == "folder":
        return {}
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.settings


def get(url: str, **headers: str) -> tuple[int, Any, bytes]:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=told)) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def make_picture(served: Served, upstream: Upstream) -> str:
    """Have an image made, and return the link to it."""
    upstream.script = [calls(("generateImage", {"prompt": "A red jacket"})), says("Here it is.")]
    return served.url + str(ran(ask(served))[0]["url"])


async def long_video(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "video/mp4"})
    await response.prepare(request)
    for piece in (MP4[:5], MP4[5:], *([BLOCK] * BLOCKS)):
        await response.write(piece)
    return response


def make_video(served: Served, upstream: Upstream, providers: Providers) -> dict[str, Any]:
    providers.task_states = [{**SUCCEEDED, "output": [f"{providers.url}/video"]}]
    upstream.script = [calls(("generateVideo", {"prompt": "It waves"})), says("It is on its way.")]
    return media_of(served, str(ran(ask(served))[0]["url"]), {"completed", "failed"})


def test_a_picture_in_a_bucket_is_served_by_our_own_link(
    serve: Serve, upstream: Upstream, providers: Providers, bucket: Bucket
) -> None:
    served = images(serve, upstream, providers, **bucket.settings, s3_prefix="/pictures/")

    url = make_picture(served, upstream)

    status, headers, body = get(url)
    assert (status, headers["content-type"], body) == (200, "image/png", png())
    name = f"pictures/{url.rpartition('/content')[0].rpartition('/')[2]}"
    assert bucket.objects()[name] == len(png())
    assert bucket.secret not in url
    assert get(url[:-1] + ("0" if url[-1] != "0" else "1"))[0] == 403
    bucket.remove(name)
    status, _, body = get(url)
    assert (status, json.loads(body)["error"]["code"]) == (404, "not_found")


def test_a_long_video_is_kept_and_served_whole_and_in_parts(
    serve: Serve, upstream: Upstream, providers: Providers, kept_in: dict[str, Any]
) -> None:
    providers.answers["/video"] = long_video
    served = video(serve, upstream, providers, **kept_in)

    media = make_video(served, upstream, providers)

    assert (media["status"], media["bytes"]) == ("completed", len(LONG))
    url = served.url + media["url"]
    status, headers, body = get(url)
    assert (status, headers["accept-ranges"], int(headers["content-length"])) == (200, "bytes", len(LONG))
    assert hashlib.sha256(body).digest() == hashlib.sha256(LONG).digest()
    status, headers, body = get(url, Range=f"bytes=5000000-{len(LONG) - 100}")
    assert (status, body == LONG[5_000_000:-99]) == (206, True)
    assert headers["content-range"] == f"bytes 5000000-{len(LONG) - 100}/{len(LONG)}"
    assert get(url, Range="bytes=-7")[2] == LONG[-7:]
    assert get(url, Range="bytes=0-3", If_Range='"another"')[0] == 200
    status, headers, body = get(url, Range=f"bytes={len(LONG)}-")
    assert (status, headers["content-range"], body) == (416, f"bytes */{len(LONG)}", b"")
    head = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(head) as answer:
        assert (answer.headers["content-length"], answer.read()) == (str(len(LONG)), b"")


def test_a_video_that_breaks_off_leaves_nothing_behind(
    serve: Serve, upstream: Upstream, providers: Providers, bucket: Bucket
) -> None:
    tries: list[int] = []

    async def breaks_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "video/mp4", "Content-Length": "99999999"})
        await response.prepare(request)
        await response.write(MP4)
        for _ in range(11):
            await response.write(BLOCK)
        tries.append(len(tries))
        if len(tries) == 3:
            providers.answers["/video"] = long_video
        assert request.transport is not None
        request.transport.abort()
        return response

    providers.answers["/video"] = breaks_off
    before = set(bucket.objects())

    media = make_video(video(serve, upstream, providers, **bucket.settings), upstream, providers)

    assert (media["status"], len(tries)) == ("completed", 3)
    assert set(bucket.objects()) - before == {media["id"]}
    assert bucket.unfinished() == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"s3_secret_access_key": "wrong-secret"},
        {"s3_bucket": "nowhere"},
        {"s3_endpoint_url": "http://127.0.0.1:9"},
    ],
)
def test_a_bucket_that_takes_nothing_is_an_error_the_model_sees_without_its_keys(
    serve: Serve,
    upstream: Upstream,
    providers: Providers,
    bucket: Bucket,
    wrong: dict[str, str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    settings = {**bucket.settings, **wrong}
    served = images(serve, upstream, providers, **settings)
    upstream.script = [calls(("generateImage", {"prompt": "A red jacket"})), says("It did not work.")]

    response = ask(served)

    [call] = ran(response)
    assert (call["status"], "cannot be stored" in call["result"]) == ("failed", True)
    told = json.dumps(upstream.asked) + json.dumps(response.to_dict()) + "".join(capfd.readouterr())
    assert settings["s3_secret_access_key"] not in told
    assert settings["s3_access_key_id"] not in told


def test_a_picture_of_a_bucket_is_edited_again(
    serve: Serve, upstream: Upstream, providers: Providers, bucket: Bucket
) -> None:
    served = images(serve, upstream, providers, **bucket.settings)
    made = make_picture(served, upstream).rpartition("/content")[0].rpartition("/")[2]
    upstream.script += [calls(("editImage", {"prompt": "Blue", "image": made})), says("Done.")]

    assert ran(ask(served))[0]["status"] == "completed"


@pytest.fixture
def data_dir(tmp_path: Path, empty_store: Path) -> Path:
    shutil.copy(empty_store, tmp_path)
    return tmp_path


def in_store(
    data_dir: Path,
    use: Callable[[MediaStore, Database], Coroutine[Any, Any, Any]],
    clock: Callable[[], float],
    **settings: Any,
) -> Any:
    """Run `use` with a store of its own."""
    chosen = load_settings({}, data_dir=data_dir, **settings)

    async def run() -> Any:
        async with (
            Database.open(chosen) as database,
            MediaStore(database, chosen, choose_media_files(chosen), clock=clock) as store,
        ):
            return await use(store, database)

    return asyncio.run(run())


def test_what_is_old_is_removed_whatever_is_set_up(data_dir: Path, kept_in: dict[str, Any]) -> None:
    now = time.time()

    async def use(store: MediaStore, _: Database) -> None:
        nonlocal now
        old = await store.save("w", "generateImage", png(), "image/png")
        now += 6 * 86_400
        young = await store.save("w", "generateImage", png(), "image/png")
        now += 2 * 86_400

        assert await store.remove_old() == 1
        assert await store.read(young.id, "w") == png()
        with pytest.raises(NotFound):
            await store.get(old.id, "w")
        with pytest.raises(NotFound):
            await anext(store.pieces(old, 0, 9))

    in_store(data_dir, use, lambda: now, media_days=7, **kept_in)


def test_a_workspace_keeps_media_for_fewer_days_and_a_deleted_one_for_none(
    data_dir: Path, kept_in: dict[str, Any]
) -> None:
    now = time.time()

    async def use(store: MediaStore, database: Database) -> None:
        nonlocal now
        bounds: dict[Kind, int] = {"media": 7}
        ids = []
        for name in ("short", "deleted", "other"):
            new = NewWorkspace(name, "enterprise")
            ids.append(await workspaces.create(database, new, now=int(now)))
        short, deleted, other = ids
        with pytest.raises(InvalidRequest, match="7 days"):
            await change_terms(database, short, {"media": 8}, bounds, ADA, now=int(now))
        await change_terms(database, short, {"media": 2}, bounds, ADA, now=int(now))
        first, second, third = [await store.save(one, "generateImage", png(), "image/png") for one in ids]
        assert await store.find_end(first) == first.created_at + 2 * 86_400
        assert await store.find_end(third) == third.created_at + 7 * 86_400
        link = parse_qs(urlsplit(await store.sign_link(second.id)).query)
        assert await store.remove_old() == 0

        await delete_workspace(database, deleted, "deleted", ADA, now=int(now))
        with pytest.raises(NotFound):
            await store.open_link(second.id, link["expires"][0], link["signature"][0])
        await purge_deleted(database)
        assert await database.fetch_all("SELECT id FROM workspaces WHERE id = :id", id=deleted)
        now += 3 * 86_400
        assert await store.remove_old() == 2
        await store.complete(second.id, one_piece(png()), "image/png")  # its job did not know
        for gone in (first, second):
            with pytest.raises(NotFound):
                await anext(store.pieces(gone, 0, 9))
        assert await store.read(third.id, other) == png()
        while await purge_deleted(database):
            pass
        assert not await database.fetch_all("SELECT id FROM workspaces WHERE id = :id", id=deleted)

    in_store(data_dir, use, lambda: now, media_days=7, **kept_in)


async def one_piece(data: bytes) -> AsyncIterator[bytes]:
    yield data


def test_what_cannot_be_removed_is_tried_again(data_dir: Path, bucket: Bucket) -> None:
    now = time.time()
    away = {**bucket.settings, "s3_secret_access_key": "wrong"}

    async def keep(store: MediaStore, _: Database) -> str:
        return (await store.save("w", "generateImage", png(), "image/png")).id

    async def try_to_remove(store: MediaStore, _: Database) -> None:
        with pytest.raises(ServiceUnavailable):
            await store.remove_old()

    async def remove(store: MediaStore, database: Database) -> None:
        async with asyncio.timeout(20):
            while await database.fetch_all("SELECT id FROM media"):  # noqa: ASYNC110 - by the store itself
                await asyncio.sleep(0.02)

    made = in_store(data_dir, keep, lambda: now, **bucket.settings)
    now += 100 * 86_400
    in_store(data_dir, try_to_remove, lambda: now, **away)
    assert made in bucket.objects()
    in_store(data_dir, remove, lambda: now, **bucket.settings)
    assert made not in bucket.objects()


def test_a_job_that_nobody_follows_any_more_ends(data_dir: Path) -> None:
    now = time.time()

    async def use(store: MediaStore, _: Database) -> None:
        nonlocal now
        job = await store.begin("w", "generateVideo", provider_id="elsewhere")
        now += 1800
        assert await store.end_forsaken() == 0
        now += 3700
        assert await store.end_forsaken() == 1
        assert (await store.get(job.id, "w")).status == "failed"

    in_store(data_dir, use, lambda: now)


def test_a_long_file_is_never_in_memory_whole(tmp_path: Path, kept_in: dict[str, Any]) -> None:
    chosen: Settings = load_settings({}, data_dir=tmp_path, **kept_in)

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(48):
            yield bytes(bytearray(BLOCK))

    async def use() -> int:
        files = choose_media_files(chosen)
        size = await files.keep("a-long-file", blocks())
        tracemalloc.start()
        try:
            read = 0
            async for piece in files.pieces("a-long-file", 0, size):
                read += len(piece)
            assert read == size == 48 * 1024 * 1024
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            await files.remove("a-long-file")

    assert asyncio.run(use()) < 20 * 1024 * 1024


@pytest.mark.parametrize(("secret", "ok"), [("", True), ("wrong-secret", False)])
def test_the_doctor_tries_the_bucket(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, secret: str, ok: bool
) -> None:
    given = {**bucket.settings, "s3_secret_access_key": secret or bucket.secret, "model_backend": "scripted"}
    for name, value in given.items():
        monkeypatch.setenv(f"MAVERA_{name.upper()}", value)

    output = CliRunner().invoke(doctor, ["--json", "--data-dir", str(tmp_path)]).stdout
    [found] = [one for one in json.loads(output[output.index("[\n") :]) if one["what"] == "media"]

    assert found["ok"] == ok
    assert "mavera-doctor" not in bucket.objects()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"s3_endpoint_url": "http://127.0.0.1:9"}, "MAVERA_S3_BUCKET is not set"),
        ({"s3_bucket": "made", "s3_access_key_id": "a"}, "set both or neither"),
        ({"s3_bucket": "made", "s3_endpoint_url": "127.0.0.1:9"}, "MAVERA_S3_ENDPOINT_URL has to begin"),
    ],
)
def test_half_a_bucket_stops_the_start(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        choose_media_files(load_settings({}, data_dir=tmp_path, **given))
