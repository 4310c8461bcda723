"""Any call that carries a client may fail, for want of memory or descriptors, or by an error of the system.

It cuts that client off, or is answered as an error; never is a client kept waiting, or given another's bytes. The
server is afterwards as it was, and a stop ends it at once. Which calls there are is found by recording visits, over
each protocol. Of all of them and all their errors some are tried here, always the same; `sweep_faults` tries the
others.
"""

import pytest

from support.faults import sweep
from support.tls import Authority

FAULTS: dict[str, int | None] = {"http1": 30, "http2": 12, "tls": 6, "websocket": 12}

#: Each carrier, with each place where applications run.
STYLES = [("threaded", "asgi"), ("prethreaded", "wsgi"), ("epoll", "wsgi"), ("epoll", "asgi"), ("io_uring", "asgi")]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize(("model", "interface"), STYLES)
def test_server_is_well_after_each(model: str, interface: str, static_tree: object, authority: Authority) -> None:
    sweep(model, interface, static_tree, authority, FAULTS, "31")
