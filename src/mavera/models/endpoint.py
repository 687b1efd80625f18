"""The address of a model's server, with the key that it takes."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a model. The repr does not contain the key, so no log does."""

    base_url: str
    api_key: str = field(default="", repr=False)
    key_header: Literal["Authorization", "api-key"] = "Authorization"
