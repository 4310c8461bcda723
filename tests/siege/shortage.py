"""A server that lacks something: descriptors, room for files."""

import json
import resource
import select
import time
from contextlib import ExitStack
from socket import SO_RCVBUF, SOL_SOCKET

from siege.app import BIG
from siege.field import Field, connect
from support.behaviour import digest
from support.client import Connection
from support.messages import pattern, render

DESCRIPTORS = 256
CLIENTS = 400


def few_descriptors(field: Field) -> None:
    """400 clients come at once to a server with 256 descriptors; those beyond wait, and all are answered."""
    before = resource.prlimit(field.server.pid, resource.RLIMIT_NOFILE)[0]
    field.limit(resource.RLIMIT_NOFILE, DESCRIPTORS)
    request, answered = render("GET", "/send?size=10&length=auto"), 0
    with ExitStack() as stack:
        waiting = [stack.enter_context(connect(field.address)) for _ in range(CLIENTS)]
        for sock in waiting:
            sock.sendall(request)
        time.sleep(0.5)  # all descriptors go to clients who stay
        while waiting:
            ready, _, _ = select.select(waiting, [], [], 20)
            if not ready:
                break
            for sock in ready:
                answered += sock.recv(65536).startswith(b"HTTP/1.1 200")
                sock.close()
            waiting = [sock for sock in waiting if sock not in ready]
    field.limit(resource.RLIMIT_NOFILE, before)
    field.did = f"{answered} of {CLIENTS} clients answered"
    field.expect(answered == CLIENTS, f"only {field.did}")


FILE_BYTES = 1 << 20
UPLOAD = pattern(4_000_000)
REFUSED = b"the body could not be stored\n"


def full_disk(field: Field) -> None:
    """No file may grow beyond 1 MB: bodies of 4 MB are read or answered 500, slow readers get their whole answer."""
    field.limit(resource.RLIMIT_FSIZE, FILE_BYTES)
    stored = refused = 0
    for _ in field.counted(30, "uploads"):
        with Connection(field.address) as client:
            client.send_if_possible(render("POST", "/upload", body=UPLOAD))
            answer = client.read_response()
            stored += answer.status == 200 and json.loads(answer.body)["digest"] == digest(UPLOAD)
            refused += answer.status == 500 and answer.body == REFUSED
        with Connection(field.address, receive_buffer=4096) as reader:
            reader.send(render("GET", "/big"))
            time.sleep(0.1)  # what it does not take in this time is kept in a file, if there is room
            reader.socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 1 << 20)
            field.expect(reader.read_response().body == BIG, "a slow reader got another answer")
    total = int(field.did.split()[0])
    field.did += f", {refused} refused"
    field.expect(stored + refused == total, f"{total - stored - refused} uploads were answered otherwise")
    field.limit(resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
    with Connection(field.address) as client:
        after = client.request("POST", "/upload", body=UPLOAD)
    field.expect(after.status == 200, f"with room again a body is answered {after.status}")
