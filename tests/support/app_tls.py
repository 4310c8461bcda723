"""Applications that answer with what they are told of TLS, as JSON. Not to be imported by a test."""

import json
from collections.abc import Iterable
from typing import Any

PREFIXES = ("SSL_", "HTTPS", "wsgi.url_scheme")


def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [json.dumps({key: value for key, value in environ.items() if key.startswith(PREFIXES)}).encode()]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    told = {"scheme": scope["scheme"], "tls": scope["extensions"].get("tls")}
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
