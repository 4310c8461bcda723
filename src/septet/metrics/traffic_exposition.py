"""The metrics of TLS connections, HTTP/2 and WebSockets in Prometheus' form, for `metrics.exposition`."""

from collections.abc import Iterator
from typing import Any

from septet.metrics.lanes import (
    HTTP2_CONNECTIONS,
    HTTP2_FLOODS,
    HTTP2_REQUESTS,
    HTTP2_RESETS,
    WS_ACCEPTED,
    WS_RECEIVED,
    WS_RECEIVED_BYTES,
    WS_REFUSED,
    WS_SENT,
    WS_SENT_BYTES,
)
from septet.metrics.table import Snapshot
from septet.metrics.traffic_read import (
    certificate_ends,
    failed_handshakes,
    handshakes,
    tls_open,
    websocket_ends,
    websockets_open,
)


def of_tls(snapshot: Snapshot, certificates: tuple[str, ...]) -> Iterator[Any]:
    """Yield the metric families about TLS. `certificates`: the certificates' files, which become labels."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    done = CounterMetricFamily(
        "septet_tls_handshakes", "TLS handshakes that were completed.", labels=["version", "resumed"]
    )
    for (version, resumed), count in handshakes(snapshot.total).items():
        done.add_metric([version, "yes" if resumed else "no"], count)
    failed = CounterMetricFamily("septet_tls_handshakes_failed", "TLS handshakes that failed.", labels=["reason"])
    for why, count in failed_handshakes(snapshot.total).items():
        failed.add_metric([why], count)
    ends = GaugeMetricFamily(
        "septet_tls_certificate_expiry_timestamp_seconds", "When a certificate expires.", labels=["certificate"]
    )
    for name, end in zip(certificates, certificate_ends(snapshot), strict=False):
        ends.add_metric([name], end)
    yield from (done, failed, ends)
    yield GaugeMetricFamily("septet_tls_connections_open", "TLS connections.", tls_open(snapshot))


def of_http2(snapshot: Snapshot) -> Iterator[Any]:
    """Yield the metric families about HTTP/2."""
    from prometheus_client.core import CounterMetricFamily

    for name, lane, meaning in (
        ("connections", HTTP2_CONNECTIONS, "Connections on which HTTP/2 was spoken."),
        ("requests", HTTP2_REQUESTS, "Streams that were opened for a request."),
        ("resets", HTTP2_RESETS, "Streams that clients have reset."),
        ("floods", HTTP2_FLOODS, "Connections that were ended because of a flood."),
    ):
        yield CounterMetricFamily(f"septet_http2_{name}", meaning, snapshot.total[lane])


def of_websockets(snapshot: Snapshot) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    total = snapshot.total
    yield GaugeMetricFamily("septet_websockets_open", "WebSockets.", websockets_open(snapshot))
    yield CounterMetricFamily("septet_websockets_accepted", "WebSockets that were opened.", total[WS_ACCEPTED])
    yield CounterMetricFamily(
        "septet_websockets_refused", "Requests for a WebSocket that were answered otherwise.", total[WS_REFUSED]
    )
    closed = CounterMetricFamily("septet_websockets_closed", "WebSockets that have ended.", labels=["code"])
    for kind, count in websocket_ends(total).items():
        closed.add_metric([kind], count)
    messages = CounterMetricFamily("septet_websocket_messages", "Messages on WebSockets.", labels=["direction"])
    octets = CounterMetricFamily("septet_websocket_bytes", "Bytes on WebSockets, before TLS.", labels=["direction"])
    for direction, count, size in (
        ("in", total[WS_RECEIVED], total[WS_RECEIVED_BYTES]),
        ("out", total[WS_SENT], total[WS_SENT_BYTES]),
    ):
        messages.add_metric([direction], count)
        octets.add_metric([direction], size)
    yield from (closed, messages, octets)
