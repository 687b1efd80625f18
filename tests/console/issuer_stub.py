"""A small OpenID Connect issuer on a real port. It signs in everybody, and checks PKCE and the client."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "mavera", "a secret of the client"


class IssuerStub:
    """`claims` are put over the usual claims of a token; None removes one. `algorithm` and `key` sign it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.issuer = url
        self.claims: dict[str, Any] = {}
        self.keys: list[RSAKey] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.reads_of_keys = 0
        self.rotate()

    def rotate(self) -> None:
        """Sign with a new key, and publish that one only."""
        name = f"key-{len(self.keys)}"
        self.keys.append(RSAKey.generate_key(2048, {"kid": name}))

    def sign(self, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": "person-1",
            "iat": now,
            "exp": now + 60,
            "nonce": nonce,
            "email": "ada@example.com",
            "groups": ["research"],
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": self.keys[-1].kid}, claims, self.keys[-1])

    def authorize(self, query: dict[str, str]) -> str:
        """Return where the browser goes after the sign-in."""
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def redeem(self, fields: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """Return the tokens for a code, which works once."""
        query = self.codes.pop(fields["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(fields["code_verifier"].encode()).digest())
        pair = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET.replace(' ', '%20')}".encode()).decode()
        if (
            query is None
            or challenge.decode().rstrip("=") != query["code_challenge"]
            or fields["redirect_uri"] != query["redirect_uri"]
            or authorization != f"Basic {pair}"
        ):
            return None
        return {"id_token": self.sign(query["nonce"]), "token_type": "Bearer", "access_token": "unused"}


class _Handler(BaseHTTPRequestHandler):
    stub: IssuerStub

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        stub = self.stub
        match parts.path:
            case "/.well-known/openid-configuration":
                self._send(
                    200,
                    {
                        "issuer": stub.issuer,
                        "authorization_endpoint": f"{stub.url}/authorize",
                        "token_endpoint": f"{stub.url}/token",
                        "jwks_uri": f"{stub.url}/keys",
                        "end_session_endpoint": f"{stub.url}/end",
                    },
                )
            case "/keys":
                stub.reads_of_keys += 1
                self._send(200, {"keys": [stub.keys[-1].as_dict(private=False)]})
            case "/authorize":
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.send_response(302)
                self.send_header("Location", stub.authorize(query))
                self.end_headers()
            case _:
                self._send(404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        fields = {name: values[0] for name, values in parse_qs(body).items()}
        tokens = self.stub.redeem(fields, self.headers.get("Authorization", ""))
        self._send(200 if tokens else 400, tokens or {"error": "invalid_grant"})

    def _send(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        return None


@contextmanager
def running_issuer() -> Iterator[IssuerStub]:
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    stub = IssuerStub(f"http://127.0.0.1:{server.server_port}")
    handler.stub = stub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
