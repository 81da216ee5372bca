"""An authorization server's public face: its metadata, its keys, and the tokens it signs."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm


class Issuer:
    """Signs tokens as an authorization server does, and publishes the key to check them by."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.asked = 0

    def document(self, path: str) -> dict[str, Any] | None:
        """Return what it publishes at a path."""
        if path == "/.well-known/oauth-authorization-server":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        if path == "/keys":
            self.asked += 1
            key = json.loads(ECAlgorithm.to_jwk(self.key.public_key()))
            return {"keys": [{**key, "kid": "k1", "use": "sig", "alg": "ES256"}]}
        return None

    def token(self, audience: str, **changed: Any) -> str:
        """Sign a token that is good for an hour, with some claims changed; None leaves one out."""
        now = datetime.now(UTC)
        claims: dict[str, Any] = {
            "iss": self.url, "aud": audience, "sub": "carol", "scope": "read write",
            "exp": now + timedelta(hours=1), "iat": now,
        }  # fmt: skip
        claims.update(changed)
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(present, self.key, algorithm="ES256", headers={"kid": "k1"})


@contextmanager
def issuer() -> Generator[Issuer]:
    """Run an authorization server on a port of its own for the length of a block."""
    found: list[Issuer] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = found[0].document(self.path)
            body = json.dumps(document).encode()
            self.send_response(200 if document else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.append(Issuer(f"http://127.0.0.1:{server.server_port}"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found[0]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
