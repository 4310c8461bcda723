"""Under `--reload`: the page that a browser gets while the newest code cannot be loaded.

The last code that could be loaded goes on serving all other requests. A browser that asks for a page gets the error
instead of the old page, which its user could take for the new one. The error page loads itself again every second,
until there is no error any more.
"""

from collections.abc import Callable, Iterable
from html import escape
from typing import Any

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="1">
<title>The newest code does not run</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 3rem auto; padding: 0 1rem; }}
pre {{ font: 14px/1.45 ui-monospace, monospace; overflow-x: auto; padding: 1rem; border-left: 4px solid #d33;
  background: color-mix(in srgb, currentColor 7%, transparent); }}
</style>
<h1>The newest code does not run</h1>
<pre>{problem}</pre>
<p>{state} This page looks again every second.</p>
</html>
"""

_OLD = "The code before this change still serves all other requests."
_NONE = "No code serves yet."


def around(application: Callable[..., Any], kind: str, problem: Callable[[], str]) -> Callable[..., Any]:
    """Wrap an application of the interface `kind` ("wsgi" or "asgi"): browsers get the error page while there is a
    problem. `problem` returns its text; an empty text means that there is none.
    """
    return _around_asgi(application, problem) if kind == "asgi" else _around_wsgi(application, problem)


def alone(problem: Callable[[], str]) -> Callable[..., Iterable[bytes]]:
    """Return a WSGI application that answers everything with the error page, for when no code could be loaded yet."""

    def page(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return _start(start_response, problem() or "The application starts.", _NONE)

    return page


def _around_wsgi(application: Callable[..., Any], problem: Callable[[], str]) -> Callable[..., Iterable[bytes]]:
    def with_page(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        accepted = environ.get("HTTP_ACCEPT", "")
        if environ["REQUEST_METHOD"] == "GET" and "text/html" in accepted and (text := problem()):
            return _start(start_response, text, _OLD)
        answer: Iterable[bytes] = application(environ, start_response)
        return answer

    return with_page


def _start(start_response: Callable[..., Any], text: str, state: str) -> Iterable[bytes]:
    start_response("500 Internal Server Error", [(name.decode(), value.decode()) for name, value in _FIELDS])
    return [_page(text, state)]


def _around_asgi(application: Callable[..., Any], problem: Callable[[], str]) -> Callable[..., Any]:
    async def with_page(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and (text := problem()) and _wants_page(scope):
            await send({"type": "http.response.start", "status": 500, "headers": _FIELDS})
            await send({"type": "http.response.body", "body": _page(text, _OLD)})
            return
        await application(scope, receive, send)

    return with_page


_FIELDS = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")]


def _wants_page(scope: dict[str, Any]) -> bool:
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


def _page(text: str, state: str) -> bytes:
    return _PAGE.format(problem=escape(text), state=state).encode()
