"""The images of a study: fetched once, kept with it, the same for every worker, and gone with it."""

import base64
import struct
import zlib
from typing import Any

import pytest
from msgspec.structs import replace

from mavera.accounts.data import deletion, retention
from mavera.core.items import Image, Message
from mavera.errors import APIError, InvalidRequest, ServiceUnavailable, ValidationFailed
from mavera.focus_groups import images, repository
from mavera.focus_groups.interviewing import Models
from mavera.focus_groups.program import StudyProgram
from mavera.focus_groups.study import Arm, Stimulus, Study, YesNo
from mavera.runs.images import ImageLimits, ImageStep
from tests.focus_groups.test_program import LIBRARY, STUDY, Model, Stage, _named, on_stage
from tests.support.opening import Open

URL, OTHER = "https://example.test/pack.png", "https://example.test/back.png"


def _draw_png(shade: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixel = zlib.compress(bytes([0, shade]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


class _Web:
    """Answers fetches, each time with another image, and counts them. It may have gone away."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails: APIError | None = None
        self.body: bytes | None = None

    async def get(self, url: str, **_: Any) -> bytes:
        self.asked.append(url)
        if self.fails is not None:
            raise self.fails
        return self.body or _draw_png(len(self.asked))


def _make_step(web: _Web) -> ImageStep:
    return ImageStep(web, None, ImageLimits())  # type: ignore[arg-type]


def _make_study(**members: Any) -> Study:
    questions = (YesNo(id="q1", text="Nice?"), YesNo(id="q2", text="Dear?"))
    return replace(STUDY, questions=questions, stimulus=Stimulus(images=(URL,)), **members)


def _list_shown(model: Model) -> set[str]:
    """Return the images of the prompts about the stimulus."""
    return {
        part.url
        for prompt in model.prompts
        for item in prompt.items
        if isinstance(item, Message)
        for part in item.parts
        if isinstance(part, Image)
    }


def _make_program(here: Stage, web: _Web, worker_id: str = "w1") -> StudyProgram:
    program = here.program(worker_id)
    models = Models(LIBRARY, {"live": here.model, "test": here.model}, _named(here.model), _make_step(web))
    program._open_interviewer = models.open_interviewer
    return program


def test_an_image_is_fetched_once_when_the_study_is_made_and_never_by_its_worker(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        web = _Web()
        here.service._images = _make_step(web)
        row = await here.service.create(here.principal, _make_study())
        assert web.asked == [URL]
        web.fails = InvalidRequest("It has gone.")

        done = await here.run(row, _make_program(here, web))

        assert done.status == "COMPLETED"
        assert web.asked == [URL]
        encoded = base64.b64encode(_draw_png(1)).decode()
        assert _list_shown(here.model) == {f"data:image/png;base64,{encoded}"}

    on_stage(scene, opened)


def test_a_worker_fetches_what_is_not_kept_and_the_next_one_finds_it(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        web = _Web()
        row = await here.service.create(here.principal, _make_study())
        program = _make_program(here, web)
        first = await program.take(row.id)
        assert first is not None
        async with program.hold(first) as work:
            await program.read_cells(work, (await program.list_pending(work))[:3])
        await program.release(first)
        assert web.asked == [URL]

        done = await here.run(row, _make_program(here, web, "w2"))

        assert (done.status, web.asked) == ("COMPLETED", [URL])
        assert len(_list_shown(here.model)) == 1

    on_stage(scene, opened)


def test_a_copy_takes_the_image_that_its_source_has_seen(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        web = _Web()
        here.service._images = _make_step(web)
        source = await here.run(
            await here.service.create(here.principal, _make_study()), _make_program(here, web)
        )
        arms = (Arm(id="a"), Arm(id="b", stimulus=Stimulus(images=(OTHER,))))

        copy = await here.service.copy(here.principal, source, _make_study(cells=arms))

        assert web.asked == [URL, OTHER]
        database = here.bank.database
        kept = [await images.find_images(database, one, [URL, OTHER]) for one in (source.id, copy.id)]
        assert kept[0][URL] == kept[1][URL]
        assert list(kept[1]) == [URL, OTHER]

    on_stage(scene, opened)


@pytest.mark.parametrize(
    ("body", "fails", "error"),
    [
        (b"<html>Not found</html>", None, ValidationFailed),
        (None, InvalidRequest("This URL did not answer in time."), InvalidRequest),
    ],
)
def test_an_image_that_is_none_refuses_the_study_before_anything_is_held(
    opened: Open, body: bytes | None, fails: APIError | None, error: type[APIError]
) -> None:
    async def scene(here: Stage) -> None:
        web = _Web()
        web.body, web.fails = body, fails
        here.service._images = _make_step(web)
        with pytest.raises(error) as refused:
            await here.service.create(here.principal, _make_study())
        assert refused.value.param == "stimulus.images[0]"
        await here.bank.check_books()
        assert await here.bank.balance() == 1000
        assert (await here.bank.one("SELECT COUNT(*) AS n FROM focus_groups"))["n"] == 0

    on_stage(scene, opened)


def test_the_images_of_a_study_are_bounded_together(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_BYTES", len(_draw_png(1)) + 10)

    async def scene(here: Stage) -> None:
        here.service._images = _make_step(_Web())
        study = _make_study(cells=(Arm(id="a"), Arm(id="b", stimulus=Stimulus(images=(OTHER,)))))
        with pytest.raises(ValidationFailed) as refused:
            await here.service.create(here.principal, study)
        assert refused.value.param == "cells[1].stimulus.images[0]"

    on_stage(scene, opened)


def test_a_refused_image_is_not_fetched_for_each_read_and_a_passing_fault_is_waited_out(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        web = _Web()
        web.fails = InvalidRequest("It has gone.")
        row = await here.service.create(here.principal, _make_study())
        done = await here.run(row, _make_program(here, web))
        assert (done.status, web.asked) == ("FAILED", [URL])
        [*cells] = await repository.read_cells(here.bank.database, row.id)
        assert {cell.error for cell in cells} == {"It has gone."}

        web.fails = None
        calls = web.get

        async def busy_once(url: str, **more: Any) -> bytes:
            web.get = calls  # type: ignore[method-assign]
            raise ServiceUnavailable("Busy.", retry_after=1)

        web.get = busy_once  # type: ignore[method-assign]
        again = await here.run(await here.service.retry(here.principal, row.id), _make_program(here, web))
        assert (again.status, web.asked) == ("COMPLETED", [URL, URL])

    on_stage(scene, opened)


def test_the_images_go_with_their_study_and_none_comes_back(opened: Open) -> None:
    async def scene(here: Stage) -> None:
        web = _Web()
        here.service._images = _make_step(web)
        row = await here.service.create(here.principal, _make_study())
        program = _make_program(here, web)
        taken = await program.take(row.id)
        assert taken is not None
        await here.service.delete(here.principal, row.id)
        late = images.StudyImages(
            here.bank.database, row.id, taken.fence, images.list_urls(row.study), _fetch_from(web)
        )
        assert len(await late.show([URL])) == 1
        assert (await here.bank.one("SELECT COUNT(*) AS n FROM focus_group_images"))["n"] == 0

    on_stage(scene, opened)


def _fetch_from(web: _Web) -> images.FetchImage:
    async def fetch(url: str) -> images.StudyImage:
        return images.StudyImage("png", await web.get(url))

    return fetch


@pytest.mark.parametrize("how", ["retention", "workspace"])
def test_retention_and_deletion_leave_no_image(
    opened: Open, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    for module in (retention, deletion):
        monkeypatch.setattr(module, "REMOVED_AT_ONCE", 1)

    async def scene(here: Stage) -> None:
        web = _Web()
        here.service._images = _make_step(web)
        study = _make_study(cells=(Arm(id="a"), Arm(id="b", stimulus=Stimulus(images=(OTHER,)))))
        row = await here.run(await here.service.create(here.principal, study), _make_program(here, web))
        database = here.bank.database
        assert (await here.bank.one("SELECT COUNT(*) AS n FROM focus_group_images"))["n"] == 2

        if how == "retention":
            later = (row.ended_at or 0) + 3 * 86_400
            await retention.prune_workspace(
                database, row.workspace_id, retention.parse_retention("studies=1"), now=later
            )
        else:
            await database.execute("UPDATE workspaces SET deleted_at = 1 WHERE id = :id", id=row.workspace_id)
            while await deletion.purge_deleted(database):
                pass

        for table in ("focus_groups", "focus_group_cells", "focus_group_images"):
            assert (await here.bank.one(f"SELECT COUNT(*) AS n FROM {table}"))["n"] == 0, table

    on_stage(scene, opened)
