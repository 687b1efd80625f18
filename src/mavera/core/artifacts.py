"""
Artifacts: parts of an answer that its reader keeps and edits, beside the text.

    <artifact identifier="price-list" type="csv" title="Price list" language="csv">
    item,price
    </artifact>
"""

from html import escape
from typing import Literal

import msgspec

ArtifactType = Literal["code", "document", "html", "svg", "mermaid", "csv", "json"]


class Artifact(msgspec.Struct, frozen=True):
    """`content` is as the model wrote it. `complete` is false if the answer ended inside the artifact."""

    identifier: str
    type: ArtifactType
    title: str
    language: str
    content: str = ""
    complete: bool = True

    @property
    def opening_tag(self) -> str:
        members = ("identifier", "type", "title", "language")
        attributes = " ".join(f'{name}="{escape(getattr(self, name))}"' for name in members)
        return f"<artifact {attributes}>"
