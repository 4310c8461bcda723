"""What a cluster's coordinator decides without a network: spec, clocks, who will do, whose share of a CPU is whose."""

import json
import platform
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import septet
from septet.errors import Failed, UsageError
from septet.lab.cluster import cluster_spec
from septet.lab.cluster.cluster_spec import ClusterSpec, Host
from septet.lab.cluster.coordinator import RemoteProcess, outcome
from septet.lab.cluster.worker_side import describe
from septet.lab.cluster.workers import Offset, Ping, Worker, check_url, offset, usable_workers
from septet.lab.load import Plan
from septet.lab.pinning import Pinning, pinning
from septet.lab.verdicts import judge
from support.scripted_server import ScriptedServer, keep_answering

SECOND_NS = 1_000_000_000
CLOCK = Offset(5, 1)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("local:2", ClusterSpec(local=2)),
        ("ssh:anna", ClusterSpec(hosts=(Host("anna", sys.executable),))),
        (
            "ssh:me@anna,berta=/opt/bin/python",
            ClusterSpec(hosts=(Host("me@anna", sys.executable), Host("berta", "/opt/bin/python"))),
        ),
        ("tcp://10.0.0.1:8786", ClusterSpec(scheduler="tcp://10.0.0.1:8786")),
        ("tls://[::1]:8786", ClusterSpec(scheduler="tls://[::1]:8786")),
    ],
)
def test_places(text: str, spec: ClusterSpec) -> None:
    assert ClusterSpec.read(text) == spec


NO_PLACES = (
    *("", "anna", "local", "local:", "local:x", "local:0", "local:-1"),
    *("ssh:", "ssh:a,,b", "ssh:-oProxyCommand=x", "tcp://h", "tcp://:8786", "tcp://h:x", "udp://h:1"),
)


@pytest.mark.parametrize("text", NO_PLACES)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(UsageError, match="is not of the form"):
        ClusterSpec.read(text)


def test_a_host_twice() -> None:
    with pytest.raises(UsageError, match="named twice"):
        ClusterSpec.read("ssh:anna,anna=/opt/python")


@given(
    ahead_ns=st.integers(-(10**18), 10**18),
    ways=st.lists(st.tuples(st.integers(0, SECOND_NS), st.integers(0, SECOND_NS)), min_size=1, max_size=30),
)
def test_the_offset_is_right_to_its_uncertainty(ahead_ns: int, ways: list[tuple[int, int]]) -> None:
    """However long the ways there and back take, each as it likes."""
    pings, now = [], 0
    for there_ns, back_ns in ways:
        pings.append(Ping(now, now + there_ns + ahead_ns, now + there_ns + back_ns))
        now += there_ns + back_ns + 1
    found = offset(pings)
    assert abs(found.ahead_ns - ahead_ns) <= found.uncertainty_ns
    assert found.uncertainty_ns == (min(map(sum, ways)) + 1) // 2


def test_no_pings_no_offset() -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        offset([])


def test_roster() -> None:
    ours = describe()
    workers = usable_workers(
        {"tcp://h:1": 0, "tcp://h:2": "anna", "tcp://h:3": "tcp://h:3"},
        dict.fromkeys(["tcp://h:1", "tcp://h:2", "tcp://h:3"], ours),
    )
    assert [worker.name for worker in workers] == ["anna", "h:1", "h:3"]
    assert all(worker.here for worker in workers)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({**describe(), "septet": "0.0.1"}, f"worker anna has septet 0.0.1, and here is {septet.__version__}"),
        ({**describe(), "python": "3.9.1"}, f"worker anna runs Python 3.9.1, and here is {platform.python_version()}"),
        (
            ModuleNotFoundError("No module named 'septet'"),
            "worker anna cannot load anything: there is no module named 'septet'",
        ),
        (OSError("gone"), "worker anna cannot be asked what it is"),
    ],
)
def test_who_will_not_do(answer: object, sentence: str) -> None:
    with pytest.raises(Failed, match=sentence):
        usable_workers({"tcp://h:1": "anna"}, {"tcp://h:1": answer})


def test_a_cluster_without_workers() -> None:
    with pytest.raises(Failed, match="the cluster has no workers"):
        usable_workers({}, {})


def worker(name: str, **changes: Any) -> Worker:
    return Worker(f"tcp://{name}:1", name, **{**describe(), **changes})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/", "http://localhost:8000/", "http://[::1]:8000/", "http://127.9.9.9/"]
)
def test_the_loopback_of_another_machine(url: str) -> None:
    """Load goes to the server that the user means, and to no other."""
    check_url(url, [worker("here")], "a cure")
    with pytest.raises(Failed, match="is another machine for worker anna: a cure"):
        check_url(url, [worker("here"), worker("anna", network_id="elsewhere")], "a cure")


def test_other_addresses_mean_the_same_everywhere() -> None:
    check_url("http://192.0.2.1/", [worker("anna", network_id="elsewhere")], "a cure")
    check_url("http://no-such-host.invalid/", [worker("anna", network_id="elsewhere")], "a cure")


@pytest.fixture(scope="module")
def raw() -> dict[str, Any]:
    """Counts of a real run, at half a CPU."""
    from septet.lab.load.run import OwnStart, carry_out

    with ScriptedServer(keep_answering) as server:
        plan = Plan(server.url, users=2, warmup_s=0.1, duration_s=0.2)
        counted = carry_out(plan, lambda event, details: None, OwnStart(plan))
        counted = json.loads(json.dumps(counted))
    return {**counted, "client": {"user_s": counted["window_s"] * 0.3, "system_s": counted["window_s"] * 0.2}}


def processes(raw: dict[str, Any], *of: tuple[Worker, tuple[int, ...]]) -> list[RemoteProcess]:
    plan = Plan("http://h/", users=2)
    return [RemoteProcess(each, replace(plan, cpus=cpus), CLOCK, raw=raw) for each, cpus in of]


def verdict(figures: dict[str, Any]) -> tuple[str, str | None]:
    usage = {"user_s": 0.0, "system_s": 0.0, "machine_busy_s": figures["client"]["here_s"], "machine_steal_s": 0.0}
    return judge({"load": {**figures, "users_never_answered": 0, "answers": 2}, "usage": usage}, 2)


def test_processes_on_one_cpu_have_one_share(raw: dict[str, Any]) -> None:
    anna, berta = worker("anna"), worker("berta", kernel_id="elsewhere")
    plan = Plan("http://h/", users=4)
    apart = outcome(plan, processes(raw, (anna, (1,)), (anna, (2,)), (berta, (1,))))
    assert apart["client"]["cpu_share"] == pytest.approx(0.5)
    assert verdict(apart)[0] != "client-limited"
    together = outcome(plan, processes(raw, (berta, (1,)), (anna, (1,)), (worker("anna-2"), (1,))))
    assert [part["cpu_share"] for part in together["client"]["workers"]] == pytest.approx([0.5, 1.0, 1.0])
    assert verdict(together) == ("client-limited", "worker anna used more than 85% of a CPU and may be the limit")


def test_only_what_was_used_here_is_ours(raw: dict[str, Any]) -> None:
    """The sampler sees our machine's CPUs, and no other's."""
    anna, berta = worker("anna"), worker("berta", kernel_id="elsewhere")
    figures = outcome(Plan("http://h/", users=4), processes(raw, (anna, ()), (berta, ())))
    client = figures["client"]
    assert client["here_s"] == pytest.approx((client["user_s"] + client["system_s"]) / 2)
    assert figures["answers"] == 2 * sum(sum(target["latency"]["buckets"].values()) for target in raw["targets"])


@pytest.mark.parametrize("text", ["0.0.0.0", "::", "here", ""])
def test_an_address_that_nobody_can_load(text: str) -> None:
    with pytest.raises(UsageError, match="--host: "):
        cluster_spec.host(text)


def test_cpus_of_a_cluster_are_its_own() -> None:
    assert cluster_spec.pinned("ssh:anna", (7, 9), pin=True) == Pinning((), (7, 9))
    assert cluster_spec.pinned("tcp://h:1", (), pin=True) == Pinning()
    assert cluster_spec.pinned("local:2", (), pin=True) == cluster_spec.pinned(None, (), pin=True) == pinning()
    assert cluster_spec.pinned("local:2", (0,), pin=True) == pinning()._replace(client=(0,))
    assert cluster_spec.pinned(None, (), pin=False) == Pinning()
    with pytest.raises(UsageError, match="without --cluster, --pin does it"):
        cluster_spec.pinned(None, (1,), pin=True)
