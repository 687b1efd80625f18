"""MAVERA_CONSOLE=off removes the console, and MAVERA_PUBLIC_URL may have a path."""

import httpx2 as httpx

from tests.conftest import Serve
from tests.console.visitors import SAME_ORIGIN, sign_in


def test_off_removes_the_pages_and_the_sessions(serve: Serve) -> None:
    served = serve(console="off")
    visitor = sign_in(served, "admin")

    assert httpx.get(f"{served.url}/", follow_redirects=False).headers["location"] == "/docs"
    for path in ("/console", "/console/sign-in", "/console/static/x/console.css", visitor.address("home")):
        assert visitor.http.get(path).status_code == 404, path
    assert visitor.http.get("/api/v1/personas").status_code == 401


def test_every_address_of_a_page_stands_below_the_prefix(serve: Serve) -> None:
    """A proxy may pass the prefix on, or remove it."""
    served = serve(public_url="http://team.example/mavera")
    visitor = sign_in(served, "admin")

    for path in (visitor.address("home"), f"/mavera{visitor.address('home')}"):
        page = visitor.http.get(path, follow_redirects=False)
        assert page.status_code == 200
        addresses = [part.split('"')[0] for part in page.text.replace('src="', 'href="').split('href="')[1:]]
        own = [address for address in addresses if address.startswith("/")]
        assert len(own) > 5
        assert all(address.startswith("/mavera/") for address in own), own
    refused = httpx.get(f"{served.url}/console", headers=SAME_ORIGIN, follow_redirects=False)
    assert refused.headers["location"] == "/mavera/console/sign-in"
