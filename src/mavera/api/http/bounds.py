"""
Limit the size of each member of a request. Every text, list and object of the API has a bound.

    Identifier   an id, ours or another server's    Text      what people and models say
    Name         of a function, a tool, a person    Link      an address, or a whole image as a data: URL
    Word         an option's value                  Opaque*   JSON that is accepted but not read

The body of a request has its own bound (MAVERA_MAX_BODY_BYTES), which includes the opaque members. The bounds
here are far above what clients send. They guarantee that no member of unlimited size is compared, quoted,
logged or stored.
"""

from typing import Annotated, Any

from msgspec import Meta

MAX_IDENTIFIER = 256
MAX_TEXT = 10 * 1024 * 1024
# Base64 makes four characters of three bytes: enough for the largest MAVERA_IMAGE_MAX_BYTES.
MAX_LINK = 180 * 1024 * 1024

MAX_PERSONA_ID = 100
PersonaId = Annotated[str, Meta(max_length=64)]
Identifier = Annotated[str, Meta(max_length=MAX_IDENTIFIER)]
# Some providers put the encrypted reasoning of a model into the ids of its calls.
CallId = Annotated[str, Meta(min_length=1, max_length=16_384)]
Name = Annotated[str, Meta(max_length=256)]
Word = Annotated[str, Meta(max_length=64)]
Secret = Annotated[str, Meta(max_length=16_384)]
Address = Annotated[str, Meta(max_length=8_192)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Link = Annotated[str, Meta(min_length=1, max_length=MAX_LINK)]

OpaqueObject = Annotated[dict[str, Any], Meta(max_length=1_000)]
OpaqueList = Annotated[list[Any], Meta(max_length=10_000)]
# One entry for each token of an answer.
LogprobList = Annotated[list[Any], Meta(max_length=262_144)]
Opaque = None | bool | int | float | Text | OpaqueList | OpaqueObject

MAX_INPUT_ITEMS = 10_000
MAX_PARTS = 10_000
