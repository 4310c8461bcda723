"""The metrics in the text formats of Prometheus and OpenMetrics, by the library prometheus_client (extra `metrics`).

A custom collector makes all families anew for every scrape, from the one table: no file for each process, as the
library's own multiprocess mode has them. Names follow https://prometheus.io/docs/practices/naming/.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from math import inf
from time import monotonic_ns
from typing import Any

from septet import __version__
from septet.metrics.histogram import Histogram, durations, histogram
from septet.metrics.lanes import (
    ABORTED,
    ACCEPTED,
    BOUNDS_S,
    GIL_WAIT,
    GIL_WAIT_NS,
    IDLE_KINDS,
    KIND,
    KINDS,
    LAG,
    LAG_SUM_NS,
    LOST,
    PID,
    QUEUE_WAIT,
    QUEUE_WAIT_NS,
    REASONS,
    RESTARTS,
    SENT,
    TIMED_OUT,
)
from septet.metrics.proc import listen_queue, usage
from septet.metrics.reader import Reader, answers, connections, in_flight, left_behind, waiting, workers
from septet.metrics.standstill import stands_still_s
from septet.metrics.table import Snapshot
from septet.metrics.traffic_exposition import of_http2, of_tls, of_websockets

MISSING = "/metrics needs the package prometheus_client: pip install 'septet[metrics]'"


def is_available() -> bool:
    """True if the library prometheus_client is installed."""
    return find_spec("prometheus_client") is not None


def render(reader: Reader, accept: str) -> tuple[bytes, str]:
    """Return the metrics as bytes and their media type: OpenMetrics if `accept`, the request's Accept field, asks for
    it, else Prometheus' text format.

    Raises ModuleNotFoundError if the library is missing.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(reader))
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


class _Collector:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def collect(self) -> Iterator[Any]:
        snapshot = self._reader.snapshot()
        yield from _of_requests(snapshot)
        yield from _of_connections(snapshot)
        yield from of_tls(snapshot, self._reader.certificates)
        yield from of_http2(snapshot)
        yield from of_websockets(snapshot)
        yield from self._of_listeners()
        yield from self._of_processes(snapshot)

    def _of_listeners(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        depth = GaugeMetricFamily("septet_listen_queue", "Connections that wait to be accepted.", labels=["address"])
        limit = GaugeMetricFamily("septet_listen_queue_limit", "Connections that may wait.", labels=["address"])
        drops = CounterMetricFamily("septet_listen_drops", "Connections dropped by the kernel.", labels=["address"])
        everywhere = CounterMetricFamily(
            "septet_namespace_listen_drops", "Connections dropped by all listeners of this network namespace."
        )
        for name, sock in self._reader.listeners:
            if sock is not None and (queue := listen_queue(sock)):
                depth.add_metric([name], queue.depth)
                limit.add_metric([name], queue.limit)
                if queue.drops is not None:
                    drops.add_metric([name], queue.drops)
        if (dropped := self._reader.dropped()) is not None:
            everywhere.add_metric([], dropped)
        yield from (depth, limit, drops, everywhere)

    def _of_processes(self, snapshot: Snapshot) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        reader = self._reader
        yield InfoMetricFamily("septet", "The server.", {"version": __version__})
        yield GaugeMetricFamily("septet_ready", "1 if the server takes requests.", reader.state() == "ready")
        yield GaugeMetricFamily(
            "septet_saturation_ratio",
            "Busy share of threads or event loops, mean of all processes.",
            reader.saturation(),
        )
        processes = GaugeMetricFamily("septet_processes", "Processes that run.", labels=["kind"])
        for index, kind in enumerate(KINDS):
            processes.add_metric([kind], sum(row.lanes[KIND] == index for row in snapshot.rows))
        yield processes
        now_ns = monotonic_ns()
        yield GaugeMetricFamily(
            "septet_processes_standing_still",
            "Processes whose event loop, or all of whose threads, have not run for two seconds.",
            sum(stands_still_s(row.lanes, now_ns) is not None for row in snapshot.rows),
        )
        found = workers(snapshot) or {"current": 0, "min": 0, "max": 0}
        yield GaugeMetricFamily("septet_workers", "Worker processes.", found["current"])
        yield GaugeMetricFamily("septet_workers_min", "The least that --workers allows.", found["min"])
        yield GaugeMetricFamily("septet_workers_max", "The most that --workers allows.", found["max"])
        restarts = CounterMetricFamily("septet_worker_restarts", "Workers that were replaced.", labels=["reason"])
        for index, reason in enumerate(REASONS):
            restarts.add_metric([reason], snapshot.total[RESTARTS + index])
        yield restarts
        busy = GaugeMetricFamily("septet_process_saturation_ratio", "Busy share of a process.", labels=["process"])
        cpu = CounterMetricFamily("septet_process_cpu_seconds", "CPU time of a process.", labels=["process"])
        memory = GaugeMetricFamily("septet_process_resident_bytes", "Resident memory.", labels=["process"])
        for row in reader.described(snapshot):
            pid, number = row.lanes[PID], str(row.number)
            if used := usage(pid):
                cpu.add_metric([number], used.cpu_s)
                memory.add_metric([number], used.resident_bytes)
            if row.lanes[KIND] not in IDLE_KINDS:
                busy.add_metric([number], reader.shares(pid).saturation)
        yield from (busy, cpu, memory)


def _of_requests(snapshot: Snapshot) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    total = snapshot.total
    requests = CounterMetricFamily("septet_requests", "Requests that were answered.", labels=["method", "status"])
    for (method, kind), count in answers(total).items():
        requests.add_metric([method, f"{kind}xx"], count)
    yield requests
    running = sum(in_flight(row.lanes) for row in snapshot.rows)
    yield GaugeMetricFamily("septet_requests_in_flight", "Requests that are being answered.", running)
    yield GaugeMetricFamily("septet_requests_waiting", "Requests that wait for a thread.", waiting(snapshot) or 0)
    yield GaugeMetricFamily(
        "septet_threads_left_behind",
        "Threads that run for requests that were ended by --request-timeout.",
        left_behind(snapshot),
    )
    for name, help, count in (
        ("aborted", "Requests whose connection ended before their answer did.", total[ABORTED] - total[LOST]),
        ("lost", "Requests that were in flight when their process ended.", total[LOST]),
        ("timed_out", "Requests that exceeded --request-timeout.", total[TIMED_OUT]),
    ):
        yield CounterMetricFamily(f"septet_requests_{name}", help, count)
    took = HistogramMetricFamily(
        "septet_request_duration_seconds", "From the complete head of a request to the last byte of its answer."
    )
    took.add_metric([], *_buckets(durations(total)))
    yield took
    wait = HistogramMetricFamily("septet_queue_wait_seconds", "How long a request's bytes lay unread (a sample).")
    wait.add_metric([], *_buckets(histogram(total, QUEUE_WAIT, QUEUE_WAIT_NS)))
    yield wait
    lag = HistogramMetricFamily("septet_loop_lag_seconds", "How late event loops ran a timer.")
    lag.add_metric([], *_buckets(histogram(total, LAG, LAG_SUM_NS)))
    yield lag
    gil = HistogramMetricFamily("septet_gil_wait_seconds", "How long a thread waits for the GIL (a sample).")
    gil.add_metric([], *_buckets(histogram(total, GIL_WAIT, GIL_WAIT_NS)))
    yield gil


def _of_connections(snapshot: Snapshot) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    yield CounterMetricFamily("septet_connections", "Connections that were accepted.", snapshot.total[ACCEPTED])
    yield GaugeMetricFamily("septet_connections_open", "Connections, idle ones included.", connections(snapshot))
    yield CounterMetricFamily("septet_sent_bytes", "Bytes of content in answers.", snapshot.total[SENT])


def _buckets(found: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Return a histogram's buckets as cumulative counts, the form that the library expects."""
    cumulative, below = [], 0
    for bound, count in zip((*BOUNDS_S, inf), found.counts, strict=True):
        below += count
        cumulative.append((str(bound) if bound < inf else "+Inf", float(below)))
    return cumulative, found.sum_s
