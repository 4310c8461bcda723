"""io_uring: clients that come faster than the loop serves them wait in the listener's queue, not as descriptors."""

import os
import socket
from collections.abc import Iterator

import pytest

from septet import server
from septet.loop import UringLoop
from septet.loop.uring import AT_ONCE
from septet.models.io_uring import BEHIND, RingReactor
from septet.processes.orders import Stop
from septet.service import Service
from septet.settings.config import Config
from support import apps_wsgi
from support.models import io_uring_refusal
from support.processes import open_descriptors

#: More than the loop can serve in a turn, and in all as many as the listener's queue can hold.
CLIENTS_PER_TURN = 100
TURNS = 18
#: Each serves ten clients and more.
TURNS_TO_CATCH_UP = CLIENTS_PER_TURN * TURNS // 10


@pytest.fixture
def reactor() -> Iterator[RingReactor]:
    if reason := io_uring_refusal():
        pytest.skip(reason)
    config = Config(model="io_uring", bind=("127.0.0.1:0",))
    with server.opened(config, apps_wsgi.app) as (config, site, listeners):
        service = Service.from_config(config, site=site, listeners=listeners, stop=Stop(signals=False), ready=print)
        made = RingReactor(service, UringLoop())
        yield made
        made.close()
        for connection in made._connections:  # some are left if the test has failed
            connection.sock.close()


def turn(reactor: RingReactor) -> None:
    reactor.loop.call_soon(reactor.loop.stop)
    reactor.loop.run_forever()


def catch_up(reactor: RingReactor) -> None:
    for _ in range(TURNS_TO_CATCH_UP):
        turn(reactor)


def come_and_go(reactor: RingReactor, clients: int) -> None:
    for _ in range(clients):
        socket.create_connection(reactor.service.listeners[0].server).close()


def test_clients_who_come_too_fast_wait_in_the_queue(reactor: RingReactor) -> None:
    listener = reactor.service.listeners[0]
    reactor.start_accepting(listener)
    turn(reactor)
    before, most = open_descriptors(os.getpid()), 0
    for _ in range(TURNS):
        come_and_go(reactor, CLIENTS_PER_TURN)
        turn(reactor)
        most = max(most, open_descriptors(os.getpid()) - before)
    # What waits in the ring when the loop finds that it is behind, and what has come by then.
    assert most < BEHIND + CLIENTS_PER_TURN + len(AT_ONCE)

    catch_up(reactor)
    assert open_descriptors(os.getpid()) == before, "a client is left"
    come_and_go(reactor, 1)
    catch_up(reactor)
    assert reactor._ring.has(reactor._accepts[listener]), "the accept is not in the ring again"
    assert not reactor._watched
