"""Any call that carries a client may fail: all of them, under every model, where `test_faults` tries some.

Run by hand (see CONTRIBUTING.md): it is not collected by `make test`. FAULT_SWEEP is how many are tried in each
configuration over each protocol, or `all`, FAULT_SEED chooses them, FAULT_PROTOCOLS names some of the protocols
("http2,websocket"), and FAULTS_MEMORY_AS names another exception than MemoryError.
"""

import os

import pytest

from support.faults import VISITS, sweep
from support.tls import Authority

SWEEP = os.environ.get("FAULT_SWEEP", "100")
SEED = os.environ.get("FAULT_SEED", "31")
PROTOCOLS = os.environ.get("FAULT_PROTOCOLS", ",".join(VISITS)).split(",")

pytestmark = pytest.mark.timeout(3600)  # all of them take minutes in each configuration


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_server_is_well_after_each(model: str, interface: str, static_tree: object, authority: Authority) -> None:
    count = None if SWEEP == "all" else int(SWEEP)
    sweep(model, interface, static_tree, authority, dict.fromkeys(PROTOCOLS, count), SEED)
