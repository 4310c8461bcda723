"""What is besieged: the fixture applications, and one large answer that costs them no memory for each client."""

from collections.abc import Iterable, Iterator

from support import apps_asgi, apps_wsgi
from support.messages import pattern

BIG = pattern(5_000_000)
PART = 50_000
ALL = {"how": "all"}
"""Of /upload, which has no query that an attack could spoil: the fixture applications raise then, as they should."""


def parts() -> Iterator[bytes]:
    return (BIG[start : start + PART] for start in range(0, len(BIG), PART))


def wsgi(environ: apps_wsgi.Environ, start_response: apps_wsgi.StartResponse) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/upload":
        return apps_wsgi.read(environ, start_response, ALL)
    if environ["PATH_INFO"] != "/big":
        return apps_wsgi.app(environ, start_response)
    start_response(apps_wsgi.OK, [apps_wsgi.BINARY, ("Content-Length", str(len(BIG)))])
    return parts()


async def asgi(scope: apps_asgi.Scope, receive: apps_asgi.Receive, send: apps_asgi.Send) -> None:
    if scope.get("path") == "/upload":
        await apps_asgi.read(scope, receive, send, ALL)
        return
    if scope.get("path") != "/big":
        await apps_asgi.app(scope, receive, send)
        return
    await apps_asgi.start(send, [apps_asgi.BINARY, ("Content-Length", str(len(BIG)))])
    for part in parts():
        await apps_asgi.part(send, part)
    await apps_asgi.part(send, b"", more=False)
