"""Reading and writing through the ORM, synchronously and not, and an export that reads rows while it is sent."""

import json
from collections.abc import AsyncIterator, Iterator

from asgiref.sync import async_to_sync
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from real_apps.sites.shop.models import Item


@csrf_exempt
@require_POST
def add(request: HttpRequest) -> HttpResponse:
    item = Item.objects.create(**json.loads(request.body))
    return JsonResponse({"name": item.name, "price": item.price}, status=201)


def show(request: HttpRequest, name: str) -> HttpResponse:
    items = Item.objects.filter(name=name).values_list("name", "price")
    return JsonResponse([*map(list, items)], safe=False)


async def show_async(request: HttpRequest, name: str) -> HttpResponse:
    item = await Item.objects.aget(name=name)
    return JsonResponse({"name": item.name, "price": item.price})


def show_bridged(request: HttpRequest, name: str) -> HttpResponse:
    """A synchronous view that calls asynchronous code."""
    return async_to_sync(show_async)(request, name)


def export(request: HttpRequest) -> StreamingHttpResponse:
    who = request.GET.get("who", "row")
    rows = _rows_async(who) if hasattr(request, "scope") else _rows(who)
    return StreamingHttpResponse(rows, content_type="text/csv")


def _described() -> QuerySet[Item]:
    """Those that were there from the beginning; what they export to is more than sockets hold."""
    return Item.objects.exclude(description="")


def _rows(who: str) -> Iterator[str]:
    for item in _described().iterator(chunk_size=100):
        yield f"{who},{item.pk},{item.name},{item.price},{item.description}\n"


async def _rows_async(who: str) -> AsyncIterator[str]:
    async for item in _described().aiterator(chunk_size=100):
        yield f"{who},{item.pk},{item.name},{item.price},{item.description}\n"
