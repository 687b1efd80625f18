"""Fill a server with what its pages show: keys, runs, personas and names that are hostile."""

import httpx2 as httpx

from tests.conftest import Served
from tests.console.visitors import sign_in

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"


def fill_server(served: Served) -> None:
    admin = sign_in(served, "admin")
    names = ("Nightly report", HOSTILE, "Ω" * 60, "A key with a long name that has to wrap somewhere")
    for place, name in enumerate(names):
        form_id = f"fill-{place}"
        form = {"form_id": form_id, "name": name, "scopes": ["responses"], "expires": "30"}
        admin.post("settings/keys/new", form)
    admin.post("settings/people/invite", {"subject": HOSTILE, "role": "member", "expires": "7"})
    with httpx.Client(base_url=served.base_url, headers=served.headers, timeout=30) as api:
        personas = [persona["id"] for persona in api.get("/personas", params={"limit": 3}).json()["data"]]
        for persona_id in [*personas, None]:
            body = {"model": "mavera-1", "input": "Would you pay for that?", "persona_id": persona_id}
            api.post("/responses", json={name: value for name, value in body.items() if value})
