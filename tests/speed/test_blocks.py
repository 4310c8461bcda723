"""Memory that stays: after ten thousand requests a server has as many blocks in use as before them.

Python counts the blocks that its allocator has handed out (sys.getallocatedblocks), to the last one; a single object
that each request leaves behind would be ten thousand of them. What is remembered on purpose is there before counting
begins.
"""

import pytest

from support.models import INTERFACES, MODELS, refusal
from support.server import Server
from support.visits import REQUESTS, STATIC, spent, visit

pytestmark = pytest.mark.usefixtures("executed")

WARM_UP = 1000
VISITS = 10_000
BRIEF_VISITS = 2500

#: For what comes and goes by itself: the text of the current date, a timer of the loop's, each thread's lists of freed
#: objects. One object for each request would be thousands.
NOISE = 500


def blocks_that_stay(model: str, interface: str, whats: tuple[str, ...], visits: int) -> dict[str, int]:
    """By what is asked for."""
    stay = {}
    with Server(f"support.apps_measured:{interface}", "--model", model, *STATIC) as server, server.connect() as client:
        for what in whats:
            visit(client, REQUESTS[what], WARM_UP)
            before = spent(client)[2]
            visit(client, REQUESTS[what], visits)
            stay[what] = spent(client)[2] - before
    return stay


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("model", MODELS)
def test_no_block_stays(model: str, interface: str) -> None:
    if reason := refusal(model):
        pytest.skip(reason)
    stay = blocks_that_stay(model, interface, ("hello",), VISITS if model == "epoll" else BRIEF_VISITS)
    assert all(blocks < NOISE for blocks in stay.values()), stay


@pytest.mark.parametrize("interface", INTERFACES)
def test_no_block_stays_of_bodies_streams_and_files(interface: str) -> None:
    stay = blocks_that_stay("epoll", interface, ("post", "stream", "static"), BRIEF_VISITS)
    assert all(blocks < NOISE for blocks in stay.values()), stay
