"""Clients of the Channels application."""

import json
from pathlib import Path
from uuid import uuid4

from websockets.exceptions import ConnectionClosed, InvalidStatus

from real_apps.visit import (
    CONCURRENCY,
    SHARED_MEMORY,
    Site,
    expect,
    expect_status,
    open_websocket,
    step,
    step_that_needs,
)


def prepare(directory: Path) -> None:
    pass


@step
def view(site: Site) -> None:
    expect(expect_status(site.get("/view")).text, "a view", "the page")


@step
def alone_in_a_group(site: Site) -> None:
    group = uuid4().hex
    with open_websocket(site, f"/group/{group}", origin=site.url, subprotocols=["chat"]) as socket:
        expect(socket.subprotocol, "chat", "the subprotocol")
        for number in range(50):
            socket.send(str(number))
        expect([socket.recv() for _ in range(50)], [str(number) for number in range(50)], "what is heard")
        socket.close(4000)
    site.journal.wait_for(f"left {group} 4000")


@step_that_needs(SHARED_MEMORY, CONCURRENCY, reason="the group is in memory, and has two members at a time")
def two_in_a_group(site: Site) -> None:
    group = uuid4().hex
    target = f"/group/{group}"
    with open_websocket(site, target, origin=site.url) as anna, open_websocket(site, target, origin=site.url) as berta:
        for speaker, text in ((anna, "hello"), (berta, "x" * 200_000)):
            speaker.send(text)
            expect([anna.recv(), berta.recv()], [text, text], "what both hear")


@step
def a_consumer_in_a_thread(site: Site) -> None:
    with open_websocket(site, "/sum", origin=site.url) as socket:
        for numbers in ([1, 2], [3], []):
            socket.send(json.dumps(numbers))
            expect(json.loads(socket.recv()), sum(numbers), "the sum")
        socket.send(json.dumps("close"))
        try:
            socket.recv()
        except ConnectionClosed:
            expect(socket.close_code, 4321, "the code")
        else:
            raise AssertionError("the consumer has not closed")


@step
def a_foreign_origin(site: Site) -> None:
    try:
        open_websocket(site, "/sum", origin="http://elsewhere.example")
    except InvalidStatus as refused:
        expect(refused.response.status_code, 403, "the status")
    else:
        raise AssertionError("a page of another site may talk")
