"""
Keep the images of a study: each URL is fetched once and checked, and its bytes are stored with the study.

    create   fetch, check → rows of focus_group_images; a copy takes those of its source
    worker   rows → data URLs for the reads. An image without a row is fetched once, and kept

An image may change or disappear while a study runs. All cells see the same bytes, on whatever machine they
are asked. The rows go when the study is deleted, also by retention.
"""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from mavera.errors import APIError, ValidationFailed
from mavera.focus_groups.study import Study
from mavera.storage.database import Database, Queries

# The images of a study together. An image of its own is bounded by the fetch.
MOST_BYTES = 50 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StudyImage:
    """A checked image. `kind` is png, jpeg, gif or webp."""

    kind: str
    data: bytes


FetchImage = Callable[[str], Awaitable[StudyImage]]


def list_urls(study: Study) -> dict[str, str]:
    """Return the URLs that have to be fetched for a study, with the field of each."""
    fields = [("stimulus", study.stimulus)]
    fields += [(f"cells[{n}].stimulus", arm.stimulus) for n, arm in enumerate(study.cells)]
    found: dict[str, str] = {}
    for path, stimulus in fields:
        for n, url in enumerate(stimulus.images if stimulus is not None else ()):
            if url[:5].lower() != "data:":
                found.setdefault(url, f"{path}.images[{n}]")
    return found


async def fetch_images(urls: Mapping[str, str], fetch: FetchImage, *, held: int = 0) -> dict[str, StudyImage]:
    """
    Return the image of each URL. `urls` has the field of each, and `held` bytes are kept already.

    Raises ValidationFailed or InvalidRequest, which names the field of the first that is refused.
    """
    found: dict[str, StudyImage] = {}
    for url, path in urls.items():
        try:
            image = await fetch(url)
        except APIError as error:
            error.param = path
            raise
        found[url] = image
        held += len(image.data)
        if held > MOST_BYTES:
            raise ValidationFailed(
                f"The images of a study may have {MOST_BYTES:,} bytes together.", param=path
            )
    return found


async def insert_images(db: Queries, study_id: str, images: Mapping[str, StudyImage]) -> None:
    """Store images of a study. Those that are stored already stay as they are."""
    for url, image in images.items():
        await db.execute(
            """
            INSERT INTO focus_group_images (study_id, digest, kind, data)
            VALUES (:study_id, :digest, :kind, :data) ON CONFLICT (study_id, digest) DO NOTHING
            """,
            study_id=study_id,
            digest=_digest(url),
            kind=image.kind,
            data=image.data,
        )


async def find_images(db: Queries, study_id: str, urls: Sequence[str]) -> dict[str, StudyImage]:
    """Return the stored images of a study, by URL."""
    found = {}
    for url in urls:
        row = await db.fetch_one(
            "SELECT kind, data FROM focus_group_images WHERE study_id = :study_id AND digest = :digest",
            study_id=study_id,
            digest=_digest(url),
        )
        if row is not None:
            found[url] = StudyImage(row["kind"], bytes(row["data"]))
    return found


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode(errors="replace")).hexdigest()


class StudyImages:
    """The images of one study for its worker. `fence` is that of the worker, and `fetch` may be None."""

    def __init__(
        self, database: Database, study_id: str, fence: int, urls: Mapping[str, str], fetch: FetchImage | None
    ) -> None:
        self._database = database
        self._study_id = study_id
        self._fence = fence
        self._urls = urls
        self._fetch = fetch
        self._turn = asyncio.Lock()
        self._shown: dict[str, str] = {}
        self._refused: APIError | None = None

    async def show(self, urls: Sequence[str]) -> tuple[str, ...]:
        """
        Return what a model is shown for `urls`: data URLs. Raises the error of the fetch.

        An image that is refused stays refused for this worker, so it is not fetched for each read.
        """
        if any(url in self._urls for url in urls):
            async with self._turn:
                await self._load()
        return tuple(self._shown.get(url, url) for url in urls)

    async def _load(self) -> None:
        if self._refused is not None:
            raise self._refused
        if self._shown or self._fetch is None:
            return
        found = await find_images(self._database, self._study_id, list(self._urls))
        missing = {url: path for url, path in self._urls.items() if url not in found}
        held = sum(len(image.data) for image in found.values())
        try:
            fetched = await fetch_images(missing, self._fetch, held=held)
        except APIError as error:
            if error.status not in (429, 503):
                self._refused = error
            raise
        await self._keep(fetched)
        for url, image in {**found, **fetched}.items():
            self._shown[url] = await asyncio.to_thread(_to_data_url, image)

    async def _keep(self, images: Mapping[str, StudyImage]) -> None:
        """Store images, unless the study was deleted or has another worker."""
        if not images:
            return
        async with self._database.transaction() as transaction:
            # The write comes first, because on Postgres it locks the row.
            is_mine = await transaction.execute(
                "UPDATE focus_groups SET name = name WHERE id = :id AND fence = :fence",
                id=self._study_id,
                fence=self._fence,
            )
            if is_mine:
                await insert_images(transaction, self._study_id, images)


def _to_data_url(image: StudyImage) -> str:
    return f"data:image/{image.kind};base64,{base64.b64encode(image.data).decode('ascii')}"
