"""Any call that carries a client may fail, for want of memory or descriptors, or by an error of the system.

It cuts that client off, or is answered as an error; never is a client kept waiting, or given another's bytes. The
server is afterwards as it was, and a stop ends it at once. Which calls there are is found by recording visits. Of all
of them and all their errors some are tried here, always the same; `sweep_faults` tries the others.
"""

import pytest

from support.faults import sweep

FAULTS = 30

#: Each carrier, with each place where applications run.
STYLES = [("threaded", "asgi"), ("prethreaded", "wsgi"), ("epoll", "wsgi"), ("epoll", "asgi"), ("io_uring", "asgi")]


@pytest.mark.parametrize(("model", "interface"), STYLES)
def test_server_is_well_after_each(model: str, interface: str, static_tree: object) -> None:
    sweep(model, interface, static_tree, FAULTS, "31", only_c=False)
