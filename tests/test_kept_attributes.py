"""Every attribute that outlives a request, with the reason why nothing of the request stays in it.

An attribute that is added to one of these classes fails the test until its reason is written here. The reasons that can
be tried without a socket are: see `test_session_is_as_new_after_an_exchange`. What applications can observe is tried
under every model by `contract/test_kept_objects.py`.
"""

import ast
import inspect
import textwrap
from typing import Any

import pytest

from septet.http.codec import Http1Codec
from septet.http.incoming import IDLE_REQUEST
from septet.http2.connection import Http2Connection
from septet.models._acceptor import Acceptor
from septet.models._asgi_in_thread import AsgiThread
from septet.models._client_connection import ClientConnection
from septet.models._client_delivery import ClientDelivery
from septet.models._leaders import Leaders
from septet.models._member import Member
from septet.models._reactor import Reactor
from septet.models._runners import OnLoop
from septet.models._tasks import Starter
from septet.models._waker import Waker
from septet.models.io_uring import RingConnection, RingReactor
from septet.session.http1 import Session
from septet.session.http2 import Http2Session
from septet.session.tls import Tls
from septet.session.websocket import State
from support.carrier import Watched, ok, write_all
from support.http2 import Peer, get
from support.messages import render

CONNECTION = "of the connection: made when it is accepted, and says nothing of a request"
SERVER = "of the server or the thread: made before any request"
NEW = "as in a new connection again, once the answer is sent and the input is used up"
NUMBER = "a number, a flag or an instant, which refers to nothing"
EMPTIED = "holds requests or connections in flight, and each takes itself out at its end"

SESSION = {
    CONNECTION: "_rules client server http exchange delivery tls _peer_unnamed",
    "set when the exchange becomes a WebSocket, with which the connection ends": "tunnel",
    NUMBER: "since lost ended collects _discarded _draining",
    NEW: "phase output file later body observer_state request _fault _pace _admitted",
}
"""`delivery`: the carrier itself, or None. `exchange`: the session itself. `client` may be named anew by a proxy's
header, which is the connection's, too."""

CODEC = {
    CONNECTION: "_limits _scheme _known _date_and_server _complain",
    NUMBER: "ended stopping keep_alive status sent answered continued content_ended",
    "numbers and flags that the next head resets (`Incoming._begin`)": (
        "_chunked _contentless _remaining _received _passed_over"
    ),
    "the decoder of a body that was read to its end holds numbers; the next head replaces it": "_decoder",
    NEW: "_inbox _scanned _unfinished _chunk_end request",
}

HTTP2 = {
    CONNECTION: "rules client server peer unread_ms tls delivery codec _scheme _concurrent",
    NUMBER: "since lost ended stopping stops_now refused_until _draining _refusing _leaving _closing _lingers "
    "_discarded _served _sent _earned_at _announced_at _announcement_ends "
    "_late_until",
    "allowances, which are numbers": "_control _resets",
    NEW: "phase output file exchange _file_of _current _exchanges _stalled _unfinished _to_report _pace",
    "queues, which are empty again": "_turns _senders",
}

HTTP2_CODEC = {
    "the library's object; it forgets streams that have ended, but for the numbers of CLOSED_STREAMS": "_h2",
    NUMBER: "_credit over",
    NEW: "_ours _stream_credit",
}

TLS = {
    CONNECTION: "_rules _wrap _inner _tls _incoming _outgoing",
    NUMBER: "_discarded _input_ended _lingers _notified _of_file _own _plain_bytes _record_bytes _reported _since",
    "the beginning of the handshake, and empty after it": "_preface",
    "empty again when it is sent": "_record",
}

WEBSOCKET = {
    "of the WebSocket, with which its connection or stream ends": "frames message accepted_extensions _slices",
    NUMBER: "_text behind close_begun closed_told closing_since ends_with given_back heard_at listening news pinged "
    "queued room_awaited told",
    "the code and the reason of the end": "closed _closed_behind",
    "each message leaves when the application takes it": "messages",
    "bytes of messages that are not complete": "_partial unparsed",
}

WATCHED = {
    CONNECTION: "loop sock session lock reactor",
    NUMBER: "_descriptor _mask _requests_begun _answering _half_closed_at",
    "a flag, after which the connection ends": "_broken",
    EMPTIED: "concurrent",
    "None again at the end of the answer (`drive`, `_end_answer`)": "cycle _run_ahead _room",
}

KEPT: dict[type, dict[str, str]] = {
    Session: SESSION,
    Http1Codec: CODEC,
    Http2Session: HTTP2,
    Http2Connection: HTTP2_CODEC,
    Tls: TLS,
    State: WEBSOCKET,
    ClientConnection: WATCHED,
    RingConnection: {
        **WATCHED,
        "of the ring: its token, its thread, what is watched beside": "_closing _ended _polled _receive _ring _thread",
    },
    ClientDelivery: {
        CONNECTION: "_acceptor _sock _session _client_poller _idle_poller _client_or_order_poller _order_descriptor",
        NUMBER: "deferred_s _mask _mask_with_order half_closed_at _drains _took_last_input _thread _interrupted "
        "_waits_first _only_looked _hears_orders _others_wait",
        "one of the constant phases, or None": "_overdue",
        "a lock, which is free when no thread moves the session on, and whether it is not": "turn _has_turn",
        "of that lock, made once": "_moved",
        "a flag, after which the connection ends": "_broken",
        "changed when the time for a request is up, after which the connection ends": "__class__",
    },
    Acceptor: {
        SERVER: "stop metrics service _exhaustion _waiting_threads _listeners _poller _deferred_s watched_listeners "
        "_listener_poller",
        NUMBER: "is_free failed_at _wait_observed",
    },
    Waker: {SERVER: "lock poller __weakref__", NUMBER: "_descriptor _is_waiting"},
    AsgiThread: {
        SERVER: "_stop _graceful_timeout _lifespan _startup_result _starting _thread _loop _starter _wakeup "
        "_cut_timer _monitor",
        NUMBER: "_wakeup_pending _all_clients_done _is_serving _ended",
        EMPTIED: "_calls _exchanges _tasks",
        "a timer of a moment, which refers to the server": "_repair_timer",
    },
    Starter: {
        SERVER: "_loop _reuses _context",
        "a task that has not begun; not used again if an application has touched it (`_Spare.is_as_new`)": "_spare",
    },
    Member: {
        SERVER: "_clock _schedstat _watcher",
        NUMBER: "leads counted_busy counted_idle serial lead_offer promotion",
        "None again when `answer` returns": "item request",
    },
    Leaders: {
        SERVER: "order capacity on_full _repair _done _loop _limit _stop _exhaustion _job_signal _lock _members leader "
        "_loop_ended _watcher _name",
        NUMBER: "_busy_followers _idle_followers _threads _told_full promoting ended _failures",
        EMPTIED: "_due _jobs",
        "paths, as bytes: at most REMEMBERED_PATHS, each forgotten after QUICK_ANSWERS": "_slow",
        "an exception of the loop itself, which ends the server": "_failure",
    },
    OnLoop: {SERVER: "order _loop _stop _done _repair", NUMBER: "busy _over", EMPTIED: "_due _item"},
    Reactor: {
        SERVER: "service site sole_application loop new_context runner lock starter _accepts_per_event _cut_timer "
        "peers _deadline_timer _repair_timer _heap _paused _watched _lifespan",
        NUMBER: "stopping draining _ended _deadline_round",
        EMPTIED: "due _connections _tasks",
    },
    RingReactor: {
        SERVER: "service site sole_application loop new_context runner lock starter _accepts_per_event _cut_timer "
        "peers _deadline_timer _repair_timer _heap _paused _watched _lifespan _ring _accepts _cancelled _thread",
        NUMBER: "stopping draining _ended _deadline_round _behind",
        EMPTIED: "due _connections _tasks closing",
    },
}


def attributes(kind: type) -> set[str]:
    """Slots, and what methods assign to `self`."""
    found: set[str] = set()
    for each in kind.__mro__:
        if not each.__module__.startswith("septet."):
            continue
        slots = each.__dict__.get("__slots__", ())
        found.update((slots,) if isinstance(slots, str) else slots)
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(each)))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.update({node.attr} if isinstance(node.value, ast.Name) and node.value.id == "self" else ())
    return found


@pytest.mark.parametrize("kind", KEPT, ids=lambda kind: kind.__name__)
def test_every_attribute_has_a_reason(kind: type) -> None:
    named = [name for names in KEPT[kind].values() for name in names.split()]
    assert len(named) == len(set(named)), "one reason each"
    assert set(named) == attributes(kind)


def values(thing: Any, reasons: dict[str, str]) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in reasons[NEW].split()}


@pytest.mark.parametrize(
    "request_",
    [
        render("GET", "/"),
        render("POST", "/", body=b"12345"),
        render("POST", "/", "Transfer-Encoding: chunked") + b"5\r\n12345\r\n0\r\n\r\n",
    ],
    ids=["no body", "length", "chunked"],
)
@pytest.mark.parametrize("split", [False, True], ids=["one part", "two parts"])
def test_session_is_as_new_after_an_exchange(request_: bytes, split: bool) -> None:
    session, new = Watched(), Watched()
    session.receive(request_)
    session.respond(ok(), b"hello", not split)
    write_all(session)
    if split:
        session.push(b"more", True)
        write_all(session)
    new.http.request = new.request = IDLE_REQUEST  # in place of the request that no client has sent
    assert values(session, SESSION) == values(new, SESSION)
    assert values(session.http, CODEC) == values(new.http, CODEC)


@pytest.mark.parametrize("concurrent", [True, False])
@pytest.mark.parametrize("way", ["whole", "in parts", "before its body", "reset"])
def test_http2_session_is_as_new_after_its_exchanges(way: str, concurrent: bool) -> None:
    peer, new = Peer(concurrent=concurrent), Peer(concurrent=concurrent)
    new.client.h2.ping(b"12345678")  # the phase of one that has no stream
    new.exchange_data()
    body = bytes(20_000)
    stream = peer.ask(get("/", method=b"POST"), body, end=way != "before its body")
    (exchange,) = peer.due
    while way != "before its body" and exchange.poll():
        pass
    if way == "reset":
        peer.client.h2.reset_stream(stream)
        peer.exchange_data()
    exchange.respond(ok(), b"hello", way != "in parts")
    if way == "in parts":
        exchange.push(bytes(100_000), True)
    peer.exchange_data()
    peer.pass_time(3)  # the rest of a request that was answered early is discarded for two
    assert values(peer.session, HTTP2) == values(new.session, HTTP2)
    assert values(peer.session.codec, HTTP2_CODEC) == values(new.session.codec, HTTP2_CODEC)
    assert len(peer.session._turns) == len(peer.session._senders) == 0
