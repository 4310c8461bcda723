"""The metrics of the laboratory, one row each. Sampling, summaries, tables, charts and reference are made from it.

A row says what a metric is, in which unit, which way is better, how it is read from the server while it runs, how it is
made from the record of a run, and where it is shown:

    sampled    the sampler reads it; results.json has it as `usage.KEY`
    figure     summaries have it for each cell (a server or model at one number of users): the median of its runs
    column     the table that `septet bench` prints
    chart      the pictures and tables of report.html
    compare    `septet compare --metric NAME`

To add a metric is to add a row. The reference (docs/reference/metrics.md) is made from this table.
"""

from __future__ import annotations

from septet.lab import figures, proc
from septet.lab.metric import Chart, Column, Metric, Over, Sampled

METRICS: tuple[Metric, ...] = (
    Metric(
        key="requests_per_s",
        meaning="correct answers per second, errors not counted",
        unit="requests/s",
        more_is_better=True,
        figure=lambda record: record["load"]["requests_per_s"],
        compare="requests/s",
        compare_by_default=True,
        chart=Chart("requests-per-second", "Requests per second", "requests per second", 1, True, unit_in_title=True),
    ),
    Metric(
        key="even_requests_per_s",
        meaning="right answers in a second, evened: if the server had had its CPUs alone (`septet.lab.evening`)",
        unit="requests/s",
        more_is_better=True,
        figure=figures.evened("requests_per_s"),
    ),
    Metric(
        key="p50_us",
        meaning="latency that half of the requests do not exceed",
        unit="ms",
        per_unit=1000,
        figure=figures.latency("p50"),
        column=Column("p50 ms", 1, ",.1f"),
        compare="p50",
        chart=Chart("latency-p50", "Latency: half of the requests are faster (p50)", "p50 latency", 3),
    ),
    Metric(
        key="p90_us",
        meaning="latency that 90 of 100 requests do not exceed",
        unit="ms",
        per_unit=1000,
        figure=figures.latency("p90"),
        compare="p90",
    ),
    Metric(
        key="p99_us",
        meaning="latency that 99 of 100 requests do not exceed",
        unit="ms",
        per_unit=1000,
        figure=figures.latency("p99"),
        column=Column("p99 ms", 2, ",.1f"),
        compare="p99",
        compare_by_default=True,
        chart=Chart("latency-p99", "Latency: 99 of 100 requests are faster (p99)", "p99 latency", 2),
    ),
    Metric(
        key="p99.9_us",
        meaning="latency that 999 of 1,000 requests do not exceed",
        unit="ms",
        per_unit=1000,
        figure=figures.latency("p99.9"),
        compare="p99.9",
    ),
    Metric(
        key="p99.99_us",
        meaning="latency that 9,999 of 10,000 requests do not exceed",
        unit="ms",
        per_unit=1000,
        figure=figures.latency("p99.99"),
    ),
    Metric(
        key="max_us", meaning="longest latency of a request", unit="ms", per_unit=1000, figure=figures.latency("max")
    ),
    Metric(
        key="mean_us", meaning="mean latency of the requests", unit="ms", per_unit=1000, figure=figures.latency("mean")
    ),
    Metric(
        key="cpu_us",
        meaning="CPU time of the server for each answer, in user mode and in the kernel",
        unit="µs",
        figure=figures.whole_cpu_us,
        column=Column("CPU µs/request", 3),
        compare="CPU/request",
        compare_by_default=True,
        chart=Chart("cpu", "CPU time of a request", "CPU time of a request", 4),
    ),
    Metric(
        key="even_cpu_us",
        meaning="CPU time of the server for a request, evened: at the usual speed of its CPUs, as the probe saw it",
        unit="µs",
        figure=figures.evened("cpu_us"),
    ),
    Metric(
        key="cpu_per_probe",
        meaning="CPU time of a request as a multiple of the probe's fixed work, to compare runs of different times",
        unit="x",
        figure=figures.cpu_per_probe,
        compare="CPU/probe",
    ),
    Metric(key="cpu_user_us", meaning="the part of it in user mode", unit="µs", figure=figures.cpu_us("user_s")),
    Metric(key="cpu_system_us", meaning="the part of it in the kernel", unit="µs", figure=figures.cpu_us("system_s")),
    Metric(
        key="cpu_s",
        meaning="CPU time of the server, counted in ns; includes threads and child processes that have ended",
        unit="s",
        sampled=Sampled(lambda sight: sum(each.cpu_s for each in sight.processes), Over.CHANGE),
    ),
    Metric(
        key="cpu_grain_s",
        meaning="largest error of `cpu_s`: CPU time of child processes that have ended is counted in ticks of 10 ms",
        unit="s",
        sampled=Sampled(lambda sight: sum(each.cpu_grain_s for each in sight.processes), Over.PEAK),
    ),
    Metric(
        key="user_s",
        meaning="CPU time of the server in user mode; includes child processes that have ended",
        unit="s",
        sampled=Sampled(lambda sight: sum(each.user_s for each in sight.processes), Over.CHANGE),
    ),
    Metric(
        key="system_s",
        meaning="CPU time of the server in the kernel; includes child processes that have ended",
        unit="s",
        sampled=Sampled(lambda sight: sum(each.system_s for each in sight.processes), Over.CHANGE),
    ),
    Metric(
        key="gil_share",
        meaning="share of the time in which threads run or want to that they wait for the GIL; null: not known",
        unit="%",
        per_unit=0.01,
        # `threads.gil` looks more often than the sampler; the runner adds its share.
        sampled=Sampled(lambda sight: None, Over.LAST, unknown=None),
        figure=figures.usage("gil_share"),
        column=Column("waits for GIL", 5, ".0f"),
    ),
    Metric(
        key="cpus_wanted",
        meaning="CPUs that threads of the server used or waited for, on the average; null where it is not known",
        unit="CPUs",
        sampled=Sampled(lambda sight: None, Over.LAST, unknown=None),
        figure=figures.usage("cpus_wanted"),
    ),
    Metric(
        key="pss_bytes",
        meaning="memory of all processes of the server; a page that several share is counted once (PSS)",
        unit="MB",
        per_unit=1e6,
        sampled=Sampled(lambda sight: proc.pss_bytes(sight.processes), Over.PEAK, costly=True, unknown=None),
        figure=figures.usage("pss_bytes"),
        column=Column("memory MB", 6),
        compare="memory",
        compare_by_default=True,
        chart=Chart("memory", "Memory of all processes (PSS)", "memory", 5),
    ),
    Metric(
        key="rss_bytes",
        meaning="memory of all processes of the server; a page that several share is counted for each of them (RSS)",
        unit="MB",
        per_unit=1e6,
        sampled=Sampled(lambda sight: sum(each.rss_bytes for each in sight.processes), Over.PEAK),
        figure=figures.usage("rss_bytes"),
    ),
    Metric(
        key="switches",
        meaning="context switches for each answer, counted over the whole life of the server",
        unit="switches",
        figure=figures.total(figures.switches("voluntary_switches"), figures.switches("involuntary_switches")),
        column=Column("switches/request", 4, ".2f"),
        compare="switches/request",
        chart=Chart("switches", "Context switches of a request", "context switches", 6, unit_in_title=True),
    ),
    Metric(
        key="voluntary_switches",
        meaning="context switches for each answer, because a thread had to wait",
        figure=figures.switches("voluntary_switches"),
    ),
    Metric(
        key="involuntary_switches",
        meaning="context switches for each answer, because a thread lost the CPU to another one",
        figure=figures.switches("involuntary_switches"),
    ),
    Metric(
        key="error_share",
        meaning="requests that failed, as a share of all requests",
        unit="% of all requests",
        per_unit=0.01,
        figure=figures.error_share,
        chart=Chart("errors", "Requests that failed", "failed requests", linear=True, only_above_0=True),
    ),
    Metric(
        key="processes",
        meaning="number of processes of the server",
        sampled=Sampled(lambda sight: len(sight.processes), Over.PEAK),
        figure=figures.usage("processes"),
        column=Column("processes", 7),
        compare="processes",
    ),
    Metric(
        key="threads",
        meaning="number of threads, in all processes of the server",
        sampled=Sampled(lambda sight: sum(each.threads for each in sight.processes), Over.PEAK),
        figure=figures.usage("threads"),
        column=Column("threads", 8),
        compare="threads",
    ),
    Metric(
        key="descriptors",
        meaning="number of open file descriptors, in all processes of the server",
        sampled=Sampled(lambda sight: proc.descriptors_of(sight.processes), Over.PEAK, costly=True),
        figure=figures.usage("descriptors"),
    ),
    Metric(
        key="queue_depth",
        meaning="connections in the listen queue that wait to be accepted; null where the kernel gives no figures",
        sampled=Sampled(lambda sight: sight.queue and sight.queue.depth, Over.PEAK, unknown=None),
        figure=figures.usage("queue_depth"),
    ),
    Metric(
        key="queue_backlog",
        meaning="most connections that the listen queue can hold (its backlog)",
        sampled=Sampled(lambda sight: sight.queue and sight.queue.backlog, Over.LAST, unknown=None),
    ),
    Metric(
        key="queue_overflows",
        meaning="SYNs and connections that found any listen queue of this machine full (TcpExt ListenOverflows)",
        sampled=Sampled(lambda sight: proc.listen_overflows(), Over.CHANGE),
        figure=figures.usage("queue_overflows"),
    ),
    Metric(
        key="machine_busy_s",
        meaning="CPU time of all programs on the machine, other programs than server and load generator included",
        unit="s",
        sampled=Sampled(lambda sight: proc.machine_times()[0], Over.CHANGE),
    ),
    Metric(
        key="machine_steal_s",
        meaning="CPU time that the hypervisor gave to other machines while this one wanted to run (steal)",
        unit="s",
        sampled=Sampled(lambda sight: proc.machine_times()[1], Over.CHANGE),
    ),
    Metric(
        key="server_cpus_busy_s",
        meaning="CPU seconds of all programs on the server's CPUs",
        unit="s",
        sampled=Sampled(lambda sight: sight.server_cpus[0], Over.CHANGE),
    ),
    Metric(
        key="server_cpus_steal_s",
        meaning="CPU seconds that the hypervisor took from the server's CPUs",
        unit="s",
        sampled=Sampled(lambda sight: sight.server_cpus[1], Over.CHANGE),
    ),
    Metric(
        key="client_cpus_busy_s",
        meaning="CPU seconds of all programs on the CPUs of the load generator",
        unit="s",
        sampled=Sampled(lambda sight: sight.client_cpus[0], Over.CHANGE),
    ),
    Metric(
        key="client_cpus_steal_s",
        meaning="CPU seconds that the hypervisor took from them",
        unit="s",
        sampled=Sampled(lambda sight: sight.client_cpus[1], Over.CHANGE),
    ),
    Metric(
        key="probe_us",
        meaning="CPU time of fixed work on the server's CPUs, some 190 times a second, harmonic mean; null: not known",
        unit="µs",
        # A process of its own times it (`septet.lab.probe`); the runner adds the figures.
        sampled=Sampled(lambda sight: None, Over.LAST, unknown=None),
        figure=figures.usage("probe_us"),
    ),
    Metric(
        key="probe_cold_us",
        meaning="the same with the caches as the server and other programs left them",
        unit="µs",
        sampled=Sampled(lambda sight: None, Over.LAST, unknown=None),
    ),
    Metric(
        key="probe_samples",
        meaning="how often that was timed",
        sampled=Sampled(lambda sight: None, Over.LAST),
    ),
    Metric(
        key="cpu_mhz",
        meaning="frequency of the server's CPUs; null where the kernel does not tell it",
        unit="MHz",
        sampled=Sampled(lambda sight: None, Over.LAST, unknown=None),
        figure=figures.usage("cpu_mhz"),
    ),
)

BY_KEY = {metric.key: metric for metric in METRICS}
SUMMED_UP = {metric.key: metric.figure for metric in METRICS if metric.figure is not None}
"""The functions that compute the figures of summaries from the record of a run, by key of the metric."""
SAMPLED = {metric.key: metric.sampled for metric in METRICS if metric.sampled is not None}
"""What the sampler reads, by key of the metric."""
COMPARED = {metric.compare: metric for metric in METRICS if metric.compare}
"""The metrics of `septet compare`, by the names on its command line."""
COLUMNS = [metric for metric in METRICS if metric.column is not None]
COLUMNS.sort(key=lambda metric: metric.column.place if metric.column is not None else 0)
CHARTS = [metric for metric in METRICS if metric.chart is not None]
BARS = [metric for metric in CHARTS if metric.chart is not None and metric.chart.bar]
BARS.sort(key=lambda metric: metric.chart.bar if metric.chart is not None else 0)
"""The metrics that have a bar for one number of users, in the order of the bars."""

P50, RATE, P99, CPU, MEMORY = (BY_KEY[key] for key in ("p50_us", "requests_per_s", "p99_us", "cpu_us", "pss_bytes"))
"""The metrics that rankings, and the sentences of reports, refer to: requests per second, latency at the 99th
percentile, CPU time of a request, memory.
"""
EVEN_RATE, EVEN_CPU = BY_KEY["even_requests_per_s"], BY_KEY["even_cpu_us"]
"""The metrics by which servers and process models are ranked in place of RATE and CPU: values that are corrected for
other programs that slowed the server down, and for changes of the CPUs' speed (see `septet.lab.evening`).
"""


def reference() -> str:
    """Return the table of the metrics for the documentation, in Markdown."""
    lines = ["| metric | meaning | unit | better | over the window | shown |", "|---|---|---|---|---|---|"]
    for metric in METRICS:
        better = "" if metric.figure is None else "more" if metric.more_is_better else "less"
        over = metric.sampled.over.value if metric.sampled is not None else ""
        lines.append(f"| `{metric.key}` | {metric.meaning} | {metric.unit} | {better} | {over} | {_shown(metric)} |")
    return "\n".join(lines)


def _shown(metric: Metric) -> str:
    places = [
        "table" * (metric.column is not None or metric is RATE),
        "report" * (metric.chart is not None),
        f"compare: {metric.compare}" * bool(metric.compare),
        "`usage`" * (metric.sampled is not None),
    ]
    return ", ".join(filter(None, places))
