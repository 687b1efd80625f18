"""Signing in at an OpenID Connect issuer, and with a proxy's header."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from mavera.app import create_app
from mavera.errors import ConfigurationError
from mavera.settings import load_settings
from tests.conftest import Serve, Served
from tests.console.issuer_stub import CLIENT_ID, CLIENT_SECRET, IssuerStub, running_issuer
from tests.console.visitors import first_workspace, stranger, text_of

PUBLIC_URL = "http://console.test"
SIGN_IN = "/console/sign-in/oidc"


@pytest.fixture
def issuer() -> Iterator[IssuerStub]:
    with running_issuer() as stub:
        yield stub


def write_doors(folder: Path, issuer: IssuerStub, extra: str = "") -> Path:
    path = folder / "doors.toml"
    path.write_text(f"""
[oidc]
issuer = "{issuer.issuer}"
client_id = "{CLIENT_ID}"
client_secret = "{CLIENT_SECRET}"
name = "Acme"
allow_private = true

[[access]]
claim = "groups"
value = "admins"
role = "admin"

[[access]]
claim = "groups"
value = "research"
role = "member"
{extra}
""")
    return path


@pytest.fixture
def served(serve: Serve, issuer: IssuerStub, tmp_path: Path) -> Served:
    return serve(sign_in_config=write_doors(tmp_path, issuer), public_url=PUBLIC_URL)


def go_to_issuer(http: httpx.Client, path: str = SIGN_IN) -> str:
    """Begin a sign-in, and return the address at which the issuer sends the browser back."""
    begun = http.get(path, follow_redirects=False)
    assert begun.status_code == 303, begun.text
    back = httpx.get(begun.headers["location"], follow_redirects=False).headers["location"]
    assert back.startswith(f"{PUBLIC_URL}{SIGN_IN}/callback?")
    return str(back).removeprefix(PUBLIC_URL)


def sign_in_at_issuer(served: Served) -> httpx.Response:
    with stranger(served) as http:
        return http.get(go_to_issuer(http))


def test_the_issuer_signs_in_with_the_role_of_the_claims(served: Served, issuer: IssuerStub) -> None:
    page = stranger(served).get("/console/sign-in")
    assert "Continue with Acme" in page.text

    with stranger(served) as http:
        home = http.get(go_to_issuer(http))
        assert home.url.path.endswith("/home")
        assert "ada@example.com" in home.text
        assert http.get(home.url.path.replace("home", "settings/keys")).status_code == 403
        issuer.claims = {"groups": ["admins"]}  # read anew at each sign-in
        http.get(go_to_issuer(http))
        assert http.get(home.url.path.replace("home", "settings/keys")).status_code == 200


def test_a_sign_in_leads_back_to_the_page_that_was_wanted(served: Served) -> None:
    wanted = f"/console/w/{first_workspace(served)}/settings/sessions"
    with stranger(served) as http:
        back = go_to_issuer(http, f"{SIGN_IN}?next={wanted}")

        assert http.get(back).url.path == wanted


def test_rotated_keys_are_read_again(
    served: Served, issuer: IssuerStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mavera.console.oidc.LEAST_SECONDS_BETWEEN_KEYS", 0.0)
    assert sign_in_at_issuer(served).status_code == 200
    assert sign_in_at_issuer(served).status_code == 200
    assert issuer.reads_of_keys == 1

    issuer.rotate()

    assert sign_in_at_issuer(served).status_code == 200
    assert issuer.reads_of_keys == 2


def test_unknown_key_ids_do_not_make_the_keys_be_read_each_time(served: Served, issuer: IssuerStub) -> None:
    assert sign_in_at_issuer(served).status_code == 200
    for _ in range(3):
        issuer.rotate()
        assert sign_in_at_issuer(served).status_code == 403

    assert issuer.reads_of_keys == 1


@dataclass(frozen=True)
class InSeconds:
    """A moment that many seconds from the time of the test."""

    seconds: int

    def __call__(self) -> int:
        return int(time.time()) + self.seconds


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another-program"},
        {"aud": [CLIENT_ID, "another-program"]},
        {"azp": "another-program"},
        {"nonce": "another"},
        {"nonce": None},
        {"exp": None},
        {"exp": InSeconds(-121)},
        {"iat": InSeconds(180)},
        {"nbf": InSeconds(180)},
        {"sub": None},
        {"groups": ["sales"]},
        {"groups": None},
        {"groups": 7},
    ],
    ids=str,
)
def test_a_token_that_does_not_fit_is_refused(
    served: Served, issuer: IssuerStub, claims: dict[str, Any]
) -> None:
    issuer.claims = {name: value() if callable(value) else value for name, value in claims.items()}

    answer = sign_in_at_issuer(served)

    assert answer.status_code == 403
    assert not answer.cookies


@pytest.mark.parametrize("claims", [{"exp": InSeconds(-100)}, {"iat": InSeconds(100), "nbf": InSeconds(100)}])
def test_two_minutes_of_skew_are_allowed(served: Served, issuer: IssuerStub, claims: dict[str, Any]) -> None:
    issuer.claims = {name: value() for name, value in claims.items()}

    assert sign_in_at_issuer(served).status_code == 200


def test_a_code_of_another_browser_is_refused(served: Served) -> None:
    with stranger(served) as mine, stranger(served) as theirs:
        back = go_to_issuer(theirs)
        assert mine.get(back).status_code == 403
        go_to_issuer(mine)
        assert mine.get(back).status_code == 403
        assert "another browser" in text_of(mine.get(back))
        assert theirs.get(back).status_code == 200
        assert theirs.get(back).status_code == 403  # a code works once


def test_an_answer_of_another_issuer_is_refused(served: Served) -> None:
    with stranger(served) as http:
        back = go_to_issuer(http)

        assert http.get(f"{back}&iss=https://evil.example").status_code == 403


def test_signing_out_at_the_issuer_is_a_plain_link(served: Served, issuer: IssuerStub) -> None:
    answer = stranger(served).get(f"{SIGN_IN}/sign-out", follow_redirects=False)

    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{issuer.url}/end?client_id=")


def test_an_issuer_at_a_private_address_needs_leave(serve: Serve, issuer: IssuerStub, tmp_path: Path) -> None:
    path = write_doors(tmp_path, issuer)
    path.write_text(path.read_text().replace("allow_private = true", "").replace("http:", "https:"))
    served = serve(sign_in_config=path, public_url=PUBLIC_URL)

    answer = stranger(served).get(SIGN_IN, follow_redirects=False)

    assert answer.status_code == 503
    assert "cannot be asked" in answer.text


ROW = '[[access]]\nclaim = "a"\nvalue = "b"\nrole = "admin"\n'
OVER_HTTP = '[oidc]\nissuer = "http://a.example"\nclient_id = "x"\n'
BAD_ADDRESS = '[proxy]\nheader = "X"\naddresses = ["10.0.0.0/99"]\n'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[oidc]\nissuer = "https://a.example"\nclient_id = "x"', "nobody has access"),
        ('[[access]]\nclaim = "a"\nvalue = "b"\nrole = "owner"', "cannot be read"),
        (OVER_HTTP + ROW, "https://"),
        (BAD_ADDRESS + ROW, "CIDR"),
        ("nonsense = 1", "cannot be read"),
    ],
)
def test_a_file_with_a_fault_stops_the_start(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "doors.toml"
    path.write_text(text)
    settings = load_settings({}, data_dir=tmp_path, sign_in_config=path, model_backend="scripted")

    with pytest.raises(ConfigurationError, match=fault):
        create_app(settings)


PROXY = """
[proxy]
header = "X-Forwarded-User"
addresses = ["127.0.0.0/8"]

[[access]]
claim = "user"
value = "ada@example.com"
role = "admin"
"""


def test_a_listed_proxy_signs_in_whom_it_names(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "doors.toml"
    path.write_text(PROXY)
    served = serve(sign_in_config=path)

    with stranger(served, **{"X-Forwarded-User": "ada@example.com"}) as http:
        home = http.get("/")
        assert home.url.path.endswith("/home")
        assert "ada@example.com" in home.text
        # The proxy now names somebody else, and then nobody: the session is over for good.
        other = http.get(
            home.url.path, headers={"X-Forwarded-User": "bob@example.com"}, follow_redirects=False
        )
        assert other.status_code == 303
        assert (
            http.get(home.url.path, headers={"X-Forwarded-User": ""}, follow_redirects=False).status_code
            == 303
        )
    with stranger(served, **{"X-Forwarded-User": "bob@example.com"}) as http:
        assert http.get("/console/sign-in").status_code == 403
    with stranger(served) as http:
        assert "API key" in http.get("/").text
        twice = [("X-Forwarded-User", "ada@example.com"), ("X-Forwarded-User", "bob@example.com")]
        assert "API key" in http.get("/console/sign-in", headers=twice).text


def test_a_proxy_that_is_not_listed_is_not_believed(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "doors.toml"
    path.write_text(PROXY.replace("127.0.0.0/8", "10.0.0.0/8"))
    served = serve(sign_in_config=path)

    with stranger(served, **{"X-Forwarded-User": "ada@example.com"}) as http:
        assert "API key" in http.get("/").text
