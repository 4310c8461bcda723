"""ASGI 3, WebSocket (specification version 2.4): a coroutine that is given a scope, `receive` and `send`.

A WebSocket begins as a request. The application either accepts it, and the exchange is upgraded, or refuses it. A
refusal is an ordinary answer: 403, or what the application sends by the extension `websocket.http.response`.
`WebSocketCycle` is a `Channel` as well, because it sends that answer as a channel does.
"""

import asyncio
import logging
from dataclasses import replace
from typing import Any

from septet import forked
from septet.apps._channel import BUFFER_BYTES, Carrier, Channel
from septet.apps._diagnostics import log_raised
from septet.apps._messages import Message, fields_of
from septet.exchange import BROKEN, ClientGone, ProtocolError, WebSocketExchange, octets
from septet.http.head import reason_phrase, response_head
from septet.websocket.handshake import VERSION, Opening, opening

log = logging.getLogger("septet")

NORMAL = 1000
ABNORMAL = 1006
"""The close code that the application receives if the client left without a Close frame, or before the WebSocket was
accepted (RFC 6455 section 7.4.1).
"""

DENIAL = "websocket.http.response"

MESSAGE_BYTES = 64
"""Bytes that are added to the size of each sent message when `_unyielded` counts towards BUFFER_BYTES, at which the
application's task lets other tasks run. Without them a task that sends nearly empty messages would never do so.
"""


class WebSocketCycle(Channel):
    """Runs the application for one WebSocket, from its request to its end. The process model makes it, and runs it as a
    task.
    """

    __slots__ = ("_accepted", "_catches_up", "_close_sent", "_connect_received", "_socket", "_unyielded")

    def __init__(self, exchange: WebSocketExchange, carrier: Carrier) -> None:
        super().__init__(exchange, carrier)
        self._socket = exchange
        self._connect_received = False
        """True once the application has received `websocket.connect`."""
        self._accepted = False
        self._catches_up = False
        """True if a call of `_catch_up` is scheduled on the event loop. It parses the frames that are left when more
        came at once than are parsed in one call.
        """
        self._close_sent = False
        self._unyielded = 0
        """Bytes that the application has sent since other tasks were last allowed to run, with MESSAGE_BYTES added for
        each message. Above BUFFER_BYTES `send` lets other tasks run before it returns.
        """

    async def run(self, asgi: Any) -> None:
        """Run the application to its end. An exception is logged; the client gets a 500, or the close code 1011 if the
        WebSocket was accepted.
        """
        try:
            handshake = opening(self._request)
        except ProtocolError as fault:
            self._refuse(fault)
            return
        try:
            await asgi.application(self._scope(asgi, handshake), self.receive, self.send)
            if forked.by_application:
                forked.exit_child()
        except BaseException as error:  # a cancellation as well: it ends only this WebSocket
            if forked.by_application:
                forked.exit_child(None if type(error) is ClientGone else error)
            log_raised(self._request, error, self.disconnect_received, in_websocket=True)
        else:
            self._returned()
        finally:  # also when what the application has raised raises while it is logged
            if not self.answered:
                try:
                    self.fail()
                except BaseException:  # perhaps there was no memory to call it
                    self.fail()
                    raise
            if not self._accepted:
                self._socket.refused_websocket()

    def _scope(self, asgi: Any, handshake: Opening) -> Any:
        scope = asgi.scope(self._exchange)
        del scope["method"]
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
        scope["subprotocols"] = list(handshake.subprotocols)
        offered = scope["extensions"]
        scope["extensions"] = {name: offered[name] for name in offered if not name.startswith("http.")} | {DENIAL: {}}
        return scope

    def _refuse(self, fault: ProtocolError) -> None:
        """Answer a handshake that is malformed with the error's status; the application is not called."""
        self._socket.refused_websocket()
        head = response_head(
            fault.status,
            reason_phrase(fault.status).encode("ascii"),
            ((b"Content-Type", b"text/plain; charset=utf-8"), (b"Sec-WebSocket-Version", VERSION)),
        )
        if fault.status == 426:  # RFC 9110 section 15.5.22
            head = replace(head, fields=((b"Upgrade", b"websocket"), *head.fields))
        self._head = head
        self._finish(str(fault).encode() + b"\n")

    # The end

    def _returned(self) -> None:
        """Called when the application has returned: close the WebSocket if it was accepted and is open; answer 500 if
        the application has neither accepted nor refused it.
        """
        if self._accepted:
            self._end_socket(NORMAL)
        elif not (self.answered or self._exchange.lost or self.disconnect_received):
            log.error("the application returned without an answer to %s", self._request.target.decode("ascii"))
            super().fail()
        elif not self.answered:
            super().fail()

    def fail(self) -> None:
        """Called when the application has raised: answer 500, or close an accepted WebSocket with the code 1011."""
        if self._accepted:
            self._end_socket(1011)
        elif not self.answered:
            super().fail()

    def _end_socket(self, code: int) -> None:
        if self.answered:
            return
        self.answered = True
        try:
            self._cut_if_broken()
            self._socket.close_websocket(code, "")
            self._drive(self._socket.detach())
        except BaseException:  # not the application's: the client would wait for an end that does not come
            self._cut_after_failure()

    def _cut_after_failure(self) -> None:
        """Log the exception that is being handled, which is a fault of the server, and cut the connection."""
        try:
            super()._cut_after_failure()
        finally:
            self._socket.detach()

    # What the carrier calls

    def wake(self) -> None:
        if self._accepted:
            self._socket.noticed()
            if self._socket.behind and not self._catches_up:
                self._catches_up = True
                asyncio.get_running_loop().call_soon(self._catch_up)
        if self._waiters:
            super().wake()

    def _catch_up(self) -> None:
        self._catches_up = False
        if not self.answered:
            self._carrier.drive(self._socket.catch_up())

    def uncork(self) -> None:
        super().uncork()
        if self._accepted and not self.answered:
            self.wake()

    # What the application receives

    async def receive(self) -> Message:
        """Return the next event for the application; wait until there is one. After `websocket.disconnect` every
        further call returns that event again.
        """
        if not self._connect_received:
            self._connect_received = True
            return {"type": "websocket.connect"}
        self._cut_if_broken()
        socket = self._socket
        while not (self._accepted or self.answered or socket.gone):
            await self._wait_for_change()
        if not self._accepted:
            self.disconnect_received = not self.answered
            return {"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""}
        while True:
            message = socket.next_message()
            if message is not None:
                if socket.held:
                    self._drive(socket.resume())
                return {"type": "websocket.receive", "text" if type(message) is str else "bytes": message}
            closed = socket.closed
            if closed is not None:
                self.disconnect_received = True
                self._drive(socket.resume())
                return {"type": "websocket.disconnect", "code": closed[0], "reason": closed[1]}
            if self.answered:  # by a task of the application that has outlived it
                return {"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""}
            await self._wait_for_change()

    # What the application sends

    async def send(self, message: Message) -> None:
        """Handle a message of the application: accept or refuse the WebSocket, send data, or close.

        Raises ClientGone if the WebSocket has ended, and RuntimeError for a message that is not allowed at this point.
        Usually returns at once; if the socket is full, or BUFFER_BYTES were sent since other tasks ran, it waits until
        all output has been written to the socket.
        """
        kind = message["type"]
        self._cut_if_broken()
        try:
            if not self._accepted:
                await self._answer(kind, message)
            elif self._close_sent or self.answered:
                raise RuntimeError(f"{kind} was sent after the WebSocket was closed")
            elif kind == "websocket.send":
                data = message.get("bytes")
                if data is None:
                    data = message["text"]
                    if not isinstance(data, str):
                        raise TypeError(f"the text of a message is a str, not {type(data).__name__}")
                elif type(data) is not bytes:
                    data = octets(data)
                want = self._socket.send_message(data)
                if not self._corked:
                    self._carrier.drive(want)
                self._unyielded += len(data) + MESSAGE_BYTES
                if self._unyielded > BUFFER_BYTES or (self._socket.blocked and not self._corked):
                    await self._yield()
            elif kind == "websocket.close":
                self._close_sent = True
                self._drive(self._socket.close_websocket(*_code_and_reason(message)))
            else:
                raise RuntimeError(f"{kind!r} is not sent on a WebSocket that is open")
        except (RecursionError, MemoryError):
            self._broken = True  # without a call, for which there may be no frame or no memory
            raise

    def _cut_if_broken(self) -> None:
        """Cut the connection if a message was not sent for want of memory or of frames: some of it may be lost, and
        what follows would be misread. Called where the application sends or receives again, and at its end.
        """
        if self._broken and not self._socket.lost:
            log.error(BROKEN)
            self._drive(self._socket.lose())

    async def _yield(self) -> None:
        """Wait until the output is sent, and let other tasks run even if the socket takes all output at once."""
        self._unyielded = 0
        if not self._socket.blocked:
            await asyncio.sleep(0)
        # If the client leaves meanwhile, the application learns of it when it sends or receives next.
        while not self.answered and self._socket.awaits_room():
            await self._wait_for_change()

    def _drive(self, want: Any) -> None:
        if not self._corked:
            self._carrier.drive(want)

    async def _answer(self, kind: str, message: Message) -> None:
        """Handle the first message of the application: accept the WebSocket, or begin an ordinary answer."""
        if kind.startswith(DENIAL + "."):
            await super().send({**message, "type": kind.removeprefix("websocket.")})
        elif self._head is not None or self.answered:
            raise RuntimeError(f"{kind} was sent after the WebSocket was refused")
        elif kind == "websocket.accept":
            if self._socket.gone:
                raise ClientGone("the client is gone")
            subprotocol = message.get("subprotocol")
            want = self._socket.upgrade(subprotocol, fields_of(message))
            self._accepted = True
            self._drive(want)
            super().wake()  # a task that waits in `receive`
        elif kind == "websocket.close":
            await super().send({"type": "http.response.start", "status": 403})
            await super().send({"type": "http.response.body"})
        else:
            raise RuntimeError(f"{kind!r} was sent before websocket.accept")


def _code_and_reason(message: Message) -> tuple[int, str]:
    code, reason = message.get("code"), message.get("reason")
    return NORMAL if code is None else int(code), reason or ""
