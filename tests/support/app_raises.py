"""Applications that let out what is no Exception, or give what is no content: at /NAME, and answer anything else."""

import asyncio

RAISED = {
    "cancelled": asyncio.CancelledError,
    "generator-exit": GeneratorExit,
    "system-exit": SystemExit,
    "keyboard-interrupt": KeyboardInterrupt,
}

SPLIT = ["text", b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\ninjected"]


def wsgi(environ, start_response):
    name = environ["PATH_INFO"].strip("/")
    if name in RAISED:
        raise RAISED[name]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return SPLIT if name == "split" else [b"fine"]


async def asgi(scope, receive, send):
    name = scope["path"].strip("/")
    if name in RAISED:
        raise RAISED[name]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": "text" if name == "split" else b"fine"})
