"""A small Django project in one file, as WSGI and as ASGI."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path, reverse

from support.journal import VARIABLE

settings.configure(
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(os.environ.get(VARIABLE, ".")) / "database"}
    },
    ALLOWED_HOSTS=["example.test"],
    SECRET_KEY="for tests only",
    LOGGING_CONFIG=None,
    DATA_UPLOAD_MAX_MEMORY_SIZE=None,
)
django.setup()


def hello(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(f"Hello, {name}!")


def form(request: HttpRequest) -> HttpResponse:
    return JsonResponse(request.POST.dict())


def json(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body, content_type="application/json")


def upload(request: HttpRequest) -> HttpResponse:
    file = request.FILES["file"]
    return JsonResponse([file.name, file.size], safe=False)


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(_rows_async() if hasattr(request, "scope") else _rows(), content_type="text/plain")


def _rows() -> Iterator[str]:
    for row in range(1000):
        yield f"row {row}\n"


async def _rows_async() -> AsyncIterator[str]:
    for row in _rows():
        yield row


ROWS = "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers LIMIT %s) SELECT n FROM numbers"


def database(request: HttpRequest) -> HttpResponse:
    """Django asks whether a loop is running before it lets a view have the database."""
    with connection.cursor() as cursor:
        cursor.execute(ROWS, [1000])
        return HttpResponse(str(sum(number for (number,) in cursor.fetchall())))


def export(request: HttpRequest) -> StreamingHttpResponse:
    """Rows of the database as they are read from it; its connection is the thread's."""

    def rows() -> Iterator[str]:
        with connection.cursor() as cursor:
            cursor.execute(ROWS, [int(request.GET["rows"])])
            for (number,) in cursor:
                yield f"{number:09999}\n"

    return StreamingHttpResponse(rows(), content_type="text/csv")


async def asynchronous(request: HttpRequest, name: str) -> HttpResponse:
    await asyncio.sleep(0.001)
    return HttpResponse(f"Hello, {name}!")


def cookies(request: HttpRequest) -> HttpResponse:
    response = JsonResponse(request.COOKIES)
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    return response


def where(request: HttpRequest) -> HttpResponse:
    """The paths and URLs of a request, as Django understands them."""
    return JsonResponse(
        {
            "path": request.path,
            "own": request.path_info,
            "url": reverse("hello", args=["Ann"]),
            "whole": request.build_absolute_uri(),
        }
    )


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("deliberate")


urlpatterns = [
    path("hello/<name>", hello, name="hello"),
    path("where", where),
    path("form", form),
    path("json", json),
    path("upload", upload),
    path("stream", stream),
    path("database", database),
    path("export", export),
    path("async/<name>", asynchronous),
    path("cookies", cookies),
    path("fail", fail),
]

wsgi = WSGIHandler()
asgi = ASGIHandler()
