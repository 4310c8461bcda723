"""Any call that carries a client may fail: all of them, under every model, where `test_faults` tries some.

Run by hand (see CONTRIBUTING.md): it is not collected by `make test`. FAULT_SWEEP is how many are tried in each
configuration, or `all`, FAULT_SEED chooses them, and FAULTS_MEMORY_AS names another exception than MemoryError.
"""

import os

from support.faults import sweep

SWEEP = os.environ.get("FAULT_SWEEP", "100")
SEED = os.environ.get("FAULT_SEED", "31")


def test_server_is_well_after_each(model: str, interface: str, static_tree: object) -> None:
    sweep(model, interface, static_tree, None if SWEEP == "all" else int(SWEEP), SEED, only_c=False)
