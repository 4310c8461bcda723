"""The answers of the guestbook: paths, status codes and header fields. No I/O except opening `files`.

`decide` either has the answer at once or says which of three steps, all of which need the store, comes next; the
applications take the step, which is where blocking and asynchronous code differ, and come back for the answer.
"""

from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from io import FileIO

from septet.examples.guestbook import page
from septet.examples.guestbook.files import STATIC, StaticFile
from septet.examples.guestbook.form import FormError

HOME = "/guestbook"
STATIC_PREFIX = HOME + "/static/"

Headers = tuple[tuple[str, str], ...]


class Step(Enum):
    """What the application must do, with the request and the store, before an answer can be made; see `decide`."""

    VIEW = "count a view and show the page"
    PEEK = "show the page's header fields without counting"
    LEAVE = "read a remark from the request's body and keep it"


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. If `body` is an open file, the application must send its content, and close it.

    The headers have a Content-Length, except for a 304.
    """

    status: int
    headers: Headers
    body: bytes | FileIO


# The page loads its own stylesheet and picture, sends its own form, and does nothing else.
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HTML: Headers = (
    ("Content-Type", "text/html; charset=utf-8"),
    # Each view is counted, so a cache must ask every time; there is nothing to compare, so it gets a whole page.
    ("Cache-Control", "no-cache"),
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
)


def decide(method: str, path: str, if_none_match: str = "") -> Response | Step:
    """Return the answer to a request, or the step that the application must take first. `path`: without
    percent-encoding; `if_none_match`: the value of that header field.
    """
    if path == HOME:
        match method:
            case "GET":
                return Step.VIEW
            case "HEAD":
                return Step.PEEK
            case "POST":
                return Step.LEAVE
        return _method_not_allowed("GET, HEAD, POST")
    file = STATIC.get(path.removeprefix(STATIC_PREFIX)) if path.startswith(STATIC_PREFIX) else None
    if file is None and path not in ("/", HOME + "/"):
        return _notice(404, "There is nothing at this address.")
    if method not in ("GET", "HEAD"):
        return _method_not_allowed("GET, HEAD")
    return _see_guestbook() if file is None else _static(file, method, if_none_match)


def view(printed: page.Printed, views: int) -> Response:
    """Return the answer with the page; its counter shows `views`."""
    body = printed.fill(views)
    return Response(200, (*_HTML, ("Content-Length", str(len(body)))), body)


def remark_kept() -> Response:
    """Return the answer to a POST: 303 to the page, so that reloading it does not send the form again (RFC 9110,
    15.4.4)."""
    return _see_guestbook()


def form_refused(error: FormError) -> Response:
    """Return the answer to a form that is refused: the form again, filled in, and a sentence that says what is
    wrong."""
    return _notice(error.status, str(error), form=page.filled_form(error.name, error.text), title="Not signed yet")


def store_unavailable() -> Response:
    """Return the answer 503 when the store is unavailable. The log says why; visitors do not see the store's
    address."""
    retry = (("Retry-After", "5"),)
    return _notice(503, "The guestbook cannot be opened at the moment. Please come back in a minute.", retry)


def _see_guestbook() -> Response:
    return _notice(303, "What you are looking for is in the guestbook.", (("Location", HOME),))


def _method_not_allowed(allowed: str) -> Response:
    return _notice(405, f"Only {allowed} are possible here.", (("Allow", allowed),))


def _notice(status: int, sentence: str, extra: Headers = (), form: str = "", title: str = "") -> Response:
    body = page.notice(title or HTTPStatus(status).phrase, sentence, form)
    return Response(status, (*_HTML, *extra, ("Content-Length", str(len(body)))), body)


def _static(file: StaticFile, method: str, if_none_match: str) -> Response:
    stream = file.open()
    size, etag = StaticFile.measure(stream)
    headers: Headers = (
        ("ETag", etag),
        ("Cache-Control", "public, max-age=3600"),
        ("X-Content-Type-Options", "nosniff"),
    )
    fresh = etag in if_none_match or if_none_match.strip() == "*"
    if fresh or method == "HEAD":
        stream.close()
    if fresh:
        return Response(304, headers, b"")
    headers += (("Content-Type", file.media_type), ("Content-Length", str(size)))
    return Response(200, headers, b"" if method == "HEAD" else stream)
