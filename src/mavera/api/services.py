"""What a route needs: made once in `app.py`, found at `request.app.state.services`."""

from collections.abc import Mapping
from dataclasses import dataclass

from mavera.accounts.idempotency import FirstAnswers
from mavera.accounts.keyring import Keyring
from mavera.accounts.limits import Limiter
from mavera.api.admission import Admission
from mavera.models.model import Model
from mavera.personas.personas import Personas
from mavera.runs.loop import Mode, Runner
from mavera.settings import Settings
from mavera.storage.database import Database
from mavera.storage.probe import StoreProbe
from mavera.tools.media import MediaStore


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    database: Database
    keyring: Keyring
    personas: Personas
    models: Mapping[Mode, Model]
    runner: Runner
    limiter: Limiter
    admission: Admission
    first_answers: FirstAnswers
    media: MediaStore
    store_probe: StoreProbe
