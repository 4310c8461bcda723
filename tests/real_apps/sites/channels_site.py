"""Django Channels: a view beside a consumer with a group, over the layer in memory."""

import json
from typing import Any

from django.conf import settings

settings.configure(
    SECRET_KEY="for tests only",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)

import django  # noqa: E402

django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer, JsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

from support import journal  # noqa: E402


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a view")


class Group(AsyncWebsocketConsumer):
    """What one says, all hear."""

    async def connect(self) -> None:
        self.group = self.scope["url_route"]["kwargs"]["group"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept("chat" if "chat" in self.scope["subprotocols"] else None)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.channel_layer.group_send(self.group, {"type": "said", "text": text_data})

    async def said(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.group, self.channel_name)
        journal.write(f"left {self.group} {code}")


class Sum(JsonWebsocketConsumer):
    """Synchronous: Channels runs it in a thread."""

    def receive_json(self, content: Any, **more: Any) -> None:
        if content == "close":
            self.close(4321)
        else:
            self.send_json(sum(content))

    @classmethod
    def decode_json(cls, text: str) -> Any:
        return json.loads(text)


urlpatterns = [path("view", view)]

application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": AllowedHostsOriginValidator(
            URLRouter([path("group/<str:group>", Group.as_asgi()), path("sum", Sum.as_asgi())])
        ),
    }
)
