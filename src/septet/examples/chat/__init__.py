"""The chat: everyone who has the page open reads what each of them writes, over WebSockets.

    septet serve septet.examples.chat:asgi                              # one process
    CHAT_RELAY=redis://127.0.0.1:6379/0 septet serve septet.examples.chat:asgi --workers 4

A line goes from the page to `application`, is checked by `line`, and is passed by the `relay` to the `room` of every
process, which sends it to its members.
"""

from septet.examples.chat.application import application as asgi

__all__ = ["asgi"]
