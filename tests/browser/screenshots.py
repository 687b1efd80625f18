"""
Take the screenshots of the documentation: `python -m tests.browser.screenshots FOLDER` or `make screenshots`.

A page that does not exist is left out. The pictures have few colours, so that they stay small.
"""

import io
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tests.browser.contents import fill_showroom
from tests.browser.watched import running_chromium, watched_page
from tests.conftest import Served, running_server
from tests.console.visitors import Visitor, sign_in
from tests.support.tables import make_tables

COLOURS = 128
WIDTH, HEIGHT = 1280, 800


@dataclass(frozen=True)
class Shot:
    """A picture of a page. `path` is a page of the workspace; a part with an id is found by its link."""

    name: str
    path: str
    height: int = HEIGHT
    scheme: str = "light"
    width: int = WIDTH


SHOTS = (
    Shot("home", "home", 1000),
    Shot("home-dark", "home", 1000, "dark"),
    Shot("keys", "settings/keys", 620),
    Shot("playground", "playground", 900),
    Shot("personas", "personas", 900),
    Shot("studies", "studies", 700),
    Shot("usage", "usage", 1000),
    Shot("requests", "requests", 700),
    Shot("audit", "audit", 600),
    Shot("narrow", "home", 800, "light", 390),
)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        store = Path(data) / "store"
        store.mkdir(mode=0o700)
        make_tables(f"sqlite:///{store / 'mavera.db'}")
        with running_server(store) as served:
            fill_showroom(served)
            visitor = sign_in(served, "operator")
            with running_chromium() as browser:
                for shot in SHOTS:
                    take(browser, served, visitor, shot, folder)


def take(browser: Any, served: Served, visitor: Visitor, shot: Shot, folder: Path) -> None:
    address = visitor.address(shot.path)
    if visitor.get(address).status_code != 200:
        return
    [cookie] = list(visitor.http.cookies.items())
    viewport = {"width": shot.width, "height": shot.height}
    with watched_page(browser, served.url, cookie, viewport=viewport, color_scheme=shot.scheme) as watched:
        watched.open(address)
        picture = watched.page.screenshot(animations="disabled")
    path = folder / f"{shot.name}.png"
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(path, optimize=True)
    sys.stdout.write(f"{path} {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
