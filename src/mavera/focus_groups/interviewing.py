"""
Run the turns of a study through the same pipeline as other turns, with its personas, model and images.

The study uses its personas as they were at its start, even if a custom persona is edited meanwhile.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence

from mavera.accounts.keys.text import Mode
from mavera.accounts.principal import Principal
from mavera.core.events import Event
from mavera.core.turn import Turn
from mavera.errors import ServiceUnavailable
from mavera.focus_groups.elicit import Elicitor
from mavera.focus_groups.images import FetchImage, StudyImage
from mavera.focus_groups.repository import StudyRow, restore
from mavera.models.config import DEFAULT_NAME
from mavera.models.model import Model
from mavera.models.named import NamedModels
from mavera.personas.builtin import PersonaLibrary
from mavera.personas.catalogue import AnyPersona, Personas
from mavera.reading.encoder import SentenceEncoder
from mavera.runs.images import ImageStep
from mavera.runs.loop import Runner


class Models:
    """The models that answer studies: one for each mode of key, and the named models."""

    def __init__(
        self,
        library: PersonaLibrary,
        models: Mapping[Mode, Model],
        named: NamedModels,
        images: ImageStep | None = None,
    ) -> None:
        self._library = library
        self._models = models
        self._named = named
        self._images = images
        self._encoder = SentenceEncoder()

    async def open_interviewer(self, row: StudyRow) -> "RunnerInterviewer":
        """Return the interviewer of a study. Raises ServiceUnavailable if this server lacks its model."""
        personas = Personas(self._library, more=restore(row.panel))
        principal = Principal(row.key_id, row.workspace_id, row.mode, "enterprise")
        if row.mode == "live" and row.model != DEFAULT_NAME and row.model not in self._named:
            raise ServiceUnavailable(f"This server has no model '{row.model}', which the study asks for.")
        runner = Runner(personas, self._models, named=self._named, images=self._images)
        people = [await personas.get(one, principal) for one in row.panel.ids]
        return RunnerInterviewer(
            runner, people, principal, row, self._choose(row), self._encoder, self._find_fetch(row)
        )

    def _find_fetch(self, row: StudyRow) -> FetchImage | None:
        return None if self._images is None else make_fetch(self._images, row.workspace_id)

    def _choose(self, row: StudyRow) -> Model:
        if row.mode == "live" and row.model in self._named:
            return self._named[row.model].model
        return self._models[row.mode]


def make_fetch(images: ImageStep, workspace_id: str) -> FetchImage:
    """Return what fetches images for a workspace."""

    async def fetch(url: str) -> StudyImage:
        return StudyImage(*await images.fetch(url, workspace_id=workspace_id))

    return fetch


class RunnerInterviewer:
    """Asks with `runner`, as `principal`."""

    def __init__(
        self,
        runner: Runner,
        personas: Sequence[AnyPersona],
        principal: Principal,
        row: StudyRow,
        model: Model,
        encoder: SentenceEncoder,
        fetch_image: FetchImage | None,
    ) -> None:
        self._runner = runner
        self._principal = principal
        self._model = model
        self.personas = personas
        self.fetch_image = fetch_image
        self.elicitor = Elicitor(self._stream, model=row.model, seed=row.study.sample.seed, encoder=encoder)

    async def is_busy(self) -> bool:
        is_working = self._model.profile.is_working
        return is_working is not None and await is_working()

    def _stream(self, turn: Turn) -> AsyncGenerator[Event, None]:
        return self._runner.run(turn, self._principal)
