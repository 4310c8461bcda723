"""python-socketio's server, for ASGI."""

import socketio

# A ping ends a waiting poll: a model with one client at a time can take nothing else before it.
server = socketio.AsyncServer(async_mode="asgi", ping_interval=1)
app = socketio.ASGIApp(server)


@server.event
async def double(session: str, number: int) -> int:
    """Its answer is an acknowledgement; and an event follows."""
    await server.emit("doubled", 2 * number, to=session)
    return 2 * number


@server.event
async def count(session: str, number: int) -> None:
    """Events that come while nothing is asked."""
    server.start_background_task(_count, session, number)


@server.event
async def leave(session: str) -> None:
    """End the session from here. If the client ends it, its poll is answered when the next ping is overdue, after 21 s
    (python-engineio 4.15, under any server)."""
    await server.disconnect(session)


async def _count(session: str, number: int) -> None:
    for value in range(number):
        await server.sleep(0.02)
        await server.emit("counted", value, to=session)
