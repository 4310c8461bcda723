"""Any call that carries a client may fail, for want of memory or descriptors, or by an error of the system.

It cuts that client off, or is answered as an error; never is a client kept waiting, or given another's bytes, and the
server is afterwards as it was. Which calls there are is found by recording visits. Of all of them and all their errors
some are tried, others with each seed; `FAULT_SWEEP=all` tries every one (an hour), and a number so many.

Run by hand (see CONTRIBUTING.md): it is not collected by `make test`.
"""

import os
from random import Random

from support.faults import VISITS, FaultyServer, Site, descriptors_of_clients, is_well, pay, recovers
from support.processes import tree
from support.waiting import wait_until

SHORT = "8"
"""Of the calls into C alone: a frame of Python for which there is no memory, just there, is for the longer sweeps."""
SWEEP = os.environ.get("FAULT_SWEEP", SHORT)
SEED = os.environ.get("FAULT_SEED", "31")

#: So that a thread or a process that fails is missed at once.
OPTIONS = {"preforked": ["--workers", "1"], "prethreaded": ["--threads", "1"]}

Fault = tuple[str, Site, int]


def test_server_is_well_after_each(model: str, interface: str, static_tree: object) -> None:
    options = [*OPTIONS.get(model, []), "--limit-concurrency", "1", "--static", f"/files={static_tree}"]
    with FaultyServer(f"support.apps_{interface}:app", "--model", model, *options) as faulty:
        server = faulty.server
        found = dict(faults(faulty))
        chosen = list(found.values()) if SWEEP == "all" else sample(list(found.values()), int(SWEEP))
        descriptors = descriptors_of_clients(server.pid)
        processes = {process.pid for process in tree(server.pid)}
        fired = 0
        for number, (name, site, kind) in enumerate(chosen):
            faulty.arm(site, kind)
            what = f"{name}: {site.place} {site.name}, {os.strerror(kind) if kind else 'memory'}"
            try:
                pay(server, VISITS[name], f"v{number}", timeout_s=5)
            except AssertionError as error:
                raise AssertionError(f"{what}: {error}") from error
            fired += faulty.disarm()
            assert not (wrong := recovers(server, f"w{number}", descriptors)), (
                f"{what}: {wrong}\n{server.stderr()[-3000:]}"
            )
        assert model == "forking" or {process.pid for process in tree(server.pid)} == processes
        assert fired >= len(chosen) * 0.5, "the calls are those of the visits"


def faults(faulty: FaultyServer) -> "list[tuple[tuple[str, int], Fault]]":
    """What may fail in the visits, each call once for each error."""
    found: list[tuple[tuple[str, int], Fault]] = []
    for name, visit in VISITS.items():
        for _ in range(2):  # the first brings with it what is made once
            pay(faulty.server, visit, "warm", timeout_s=5)
            wait_until(lambda: is_well(faulty.server, "well"), "the server has done with the visit")
        sites = faulty.record(lambda visit=visit: pay(faulty.server, visit, "recorded", timeout_s=5))  # type: ignore[misc]
        wait_until(lambda: is_well(faulty.server, "well"), "the server has done with the visit")
        tried = sites if SWEEP != SHORT else [site for site in sites if site.in_c]
        found += [((site.place, kind), (name, site, kind)) for site in tried for kind in site.kinds()]
    return found


def sample(found: list[Fault], count: int) -> list[Fault]:
    """Half of them system calls."""
    random = Random(SEED)
    calls = [fault for fault in found if fault[2]]
    others = [fault for fault in found if not fault[2]]
    half = min(len(calls), count // 2)
    return random.sample(calls, half) + random.sample(others, count - half)
