"""
Take the screenshots of the documentation: `python -m tests.browser.screenshots FOLDER` or `make screenshots`.

A page that does not exist is left out. The pictures have few colours, so that they stay small.
"""

import io
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from mavera.models.scripted import ScriptedModel
from tests.browser.contents import ANSWER, fill_showroom
from tests.browser.watched import running_chromium, watched_page
from tests.conftest import Served, running_server
from tests.console.visitors import Visitor, sign_in
from tests.support.tables import make_tables

COLOURS = 128
WIDTH, HEIGHT = 1280, 800


@dataclass(frozen=True)
class Shot:
    """
    A picture of a page. `path` is a page of the workspace, which may name the `{study}`.

    `act` does something on the page before the picture is taken.
    """

    name: str
    path: str
    height: int = HEIGHT
    scheme: str = "light"
    width: int = WIDTH
    act: Callable[[Any], None] | None = None


def ask_question(page: Any) -> None:
    page.check("[name=analysis]")
    page.fill("#question", "Would you pay 9 euros a month for a wardrobe that repairs itself?")
    page.click("#send")
    page.wait_for_selector(".analysis")
    page.mouse.move(0, 0)


def compare_personas(page: Any) -> None:
    page.click("#choose")
    page.wait_for_selector(".pick")
    for place in (0, 5):
        page.locator(".pick input").nth(place).check()
    page.click("#picker [data-close]")
    ask_question(page)
    page.wait_for_selector(".analysis >> nth=2")


SHOTS = (
    Shot("home", "home", 1000),
    Shot("home-dark", "home", 1000, "dark"),
    Shot("keys", "settings/keys", 620),
    Shot("playground", "playground", 1440, act=ask_question),
    Shot("playground-compare", "playground", 1000, act=compare_personas),
    Shot("personas", "personas", 900),
    Shot("studies", "studies", 700),
    Shot("study", "studies/{study}", 1400),
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
        with running_server(store, ScriptedModel(ANSWER)) as served:
            study_id = fill_showroom(served, Path(data))
            visitor = sign_in(served, "operator")
            with running_chromium() as browser:
                for shot in SHOTS:
                    take(
                        browser, served, visitor, replace(shot, path=shot.path.format(study=study_id)), folder
                    )


def take(browser: Any, served: Served, visitor: Visitor, shot: Shot, folder: Path) -> None:
    address = visitor.address(shot.path)
    if visitor.get(address).status_code != 200:
        return
    [cookie] = list(visitor.http.cookies.items())
    viewport = {"width": shot.width, "height": shot.height}
    with watched_page(browser, served.url, cookie, viewport=viewport, color_scheme=shot.scheme) as watched:
        watched.open(address)
        if shot.act is not None:
            shot.act(watched.page)
        picture = watched.page.screenshot(animations="disabled")
    path = folder / f"{shot.name}.png"
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(path, optimize=True)
    sys.stdout.write(f"{path} {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
