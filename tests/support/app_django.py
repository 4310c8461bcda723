"""A small Django project in one file, as WSGI and as ASGI."""

from collections.abc import AsyncIterator, Iterator

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    ROOT_URLCONF=__name__,
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


def cookies(request: HttpRequest) -> HttpResponse:
    response = JsonResponse(request.COOKIES)
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    return response


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("deliberate")


urlpatterns = [
    path("hello/<name>", hello),
    path("form", form),
    path("json", json),
    path("upload", upload),
    path("stream", stream),
    path("cookies", cookies),
    path("fail", fail),
]

wsgi = WSGIHandler()
asgi = ASGIHandler()
