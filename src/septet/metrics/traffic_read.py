"""Reads the counts of TLS connections, HTTP/2 and WebSockets from the table of metrics, as plain values;
`metrics.traffic` counts them.
"""

from typing import Any

from septet.metrics.lanes import (
    CERTIFICATE_ENDS,
    HTTP2_CONNECTIONS,
    HTTP2_FLOODS,
    HTTP2_REQUESTS,
    HTTP2_RESETS,
    MOST_CERTIFICATES,
    TLS_CLOSED,
    TLS_FAILED,
    TLS_FAILURES,
    TLS_HANDSHAKES,
    TLS_VERSIONS,
    WS_ACCEPTED,
    WS_CLOSED,
    WS_ENDS,
    WS_RECEIVED,
    WS_RECEIVED_BYTES,
    WS_REFUSED,
    WS_SENT,
    WS_SENT_BYTES,
)
from septet.metrics.table import Snapshot


def handshakes(lanes: memoryview) -> dict[tuple[str, bool], int]:
    """Return the numbers of completed handshakes by version and by whether a session was resumed. `lanes`: a row of the
    metrics table, or a sum of rows.
    """
    return {
        (version, resumed): lanes[TLS_HANDSHAKES + 2 * index + resumed]
        for index, version in enumerate(TLS_VERSIONS)
        for resumed in (False, True)
    }


def failed_handshakes(lanes: memoryview) -> dict[str, int]:
    """Return the numbers of failed handshakes by class of reason. `lanes`: a row of the metrics table, or a sum of
    rows.
    """
    return {why: lanes[TLS_FAILED + index] for index, why in enumerate(TLS_FAILURES)}


def tls_open(snapshot: Snapshot) -> int:
    """Return the number of open TLS connections whose handshake was completed."""
    living = ((sum(handshakes(row.lanes).values()), row.lanes[TLS_CLOSED]) for row in snapshot.rows)
    return sum(max(0, shaken - closed) for shaken, closed in living)


def certificate_ends(snapshot: Snapshot) -> list[int]:
    """Return when each certificate expires, in seconds since 1970, in the order of the options. If processes differ,
    because some have not loaded a renewed certificate yet, the latest time is returned.
    """
    ends = [max((row.lanes[CERTIFICATE_ENDS + lane] for row in snapshot.rows), default=0) for lane in _CERTIFICATES]
    return [end for end in ends if end]


_CERTIFICATES = range(MOST_CERTIFICATES)


def websocket_ends(lanes: memoryview) -> dict[str, int]:
    """Return the numbers of ended WebSockets by class of close code. `lanes`: a row of the metrics table, or a sum of
    rows.
    """
    return {kind: lanes[WS_CLOSED + index] for index, kind in enumerate(WS_ENDS)}


def websockets_open(snapshot: Snapshot) -> int:
    living = ((row.lanes[WS_ACCEPTED], sum(websocket_ends(row.lanes).values())) for row in snapshot.rows)
    return sum(max(0, accepted - closed) for accepted, closed in living)


def tls_status(snapshot: Snapshot, names: tuple[str, ...], now: float) -> dict[str, Any]:
    """Return the part of /status.json about TLS. `names`: the certificates' files. `now`: seconds since 1970."""
    total = snapshot.total
    return {
        "open": tls_open(snapshot),
        "handshakes": sum(handshakes(total).values()),
        "resumed": sum(count for (_, resumed), count in handshakes(total).items() if resumed),
        "by_version": {
            version: sum(handshakes(total)[version, each] for each in (False, True)) for version in TLS_VERSIONS
        },
        "failed": failed_handshakes(total),
        "certificates": [
            {"file": name, "ends_at": end, "days_left": round((end - now) / 86400, 1)}
            for name, end in zip(names, certificate_ends(snapshot), strict=False)
        ],
    }


def http2_status(snapshot: Snapshot) -> dict[str, Any]:
    """Return the part of /status.json about HTTP/2."""
    total = snapshot.total
    return {
        "connections": total[HTTP2_CONNECTIONS],
        "requests": total[HTTP2_REQUESTS],
        "resets": total[HTTP2_RESETS],
        "floods": total[HTTP2_FLOODS],
    }


def websocket_status(snapshot: Snapshot) -> dict[str, Any]:
    """Return the part of /status.json about WebSockets."""
    total = snapshot.total
    return {
        "open": websockets_open(snapshot),
        "accepted": total[WS_ACCEPTED],
        "refused": total[WS_REFUSED],
        "messages_received": total[WS_RECEIVED],
        "messages_sent": total[WS_SENT],
        "received_bytes": total[WS_RECEIVED_BYTES],
        "sent_bytes": total[WS_SENT_BYTES],
        "closed": websocket_ends(total),
    }
