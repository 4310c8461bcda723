"""The chat: a page on which everyone who has it open reads what each of them writes, over WebSockets.

    septet serve septet.examples.chat:asgi                              # one process
    CHAT_RELAY=redis://127.0.0.1:6379/0 septet serve septet.examples.chat:asgi --workers 4

A message goes from the page to `application`, through `line` (is it one?) to the `room` of its process, and by way of
the `relay` to the rooms of all processes, each of which sends it to its members.
"""

from septet.examples.chat.application import application as asgi

__all__ = ["asgi"]
