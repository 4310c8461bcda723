"""The library's permessage-deflate (RFC 7692), changed to need less memory on an idle connection.

A compressor with a window of 4 KiB takes 32 KiB, and most connections are idle most of the time. Here the compressor is
made for the first message, and dropped when the connection has been idle for a while; the next message is compressed
without the history of earlier ones, which RFC 7692 permits. The decompressor is also made for the first message. It has
to stay, because the client may refer to what it sent before.
"""

import zlib
from collections.abc import Sequence

from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import CONT, Frame
from websockets.typing import ExtensionParameter


class Deflate(PerMessageDeflate):
    """permessage-deflate on one connection: compresses and decompresses its messages."""

    def __init__(self, negotiated: PerMessageDeflate) -> None:
        super().__init__(
            # The base class makes no compressor and no decompressor where none is kept from message to message.
            True,
            True,
            negotiated.remote_max_window_bits,
            negotiated.local_max_window_bits,
            negotiated.compress_settings,
        )
        self.remote_no_context_takeover = negotiated.remote_no_context_takeover
        self.local_no_context_takeover = negotiated.local_no_context_takeover

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        if frame.rsv1 and not hasattr(self, "decoder"):
            self.decoder = zlib.decompressobj(wbits=-self.remote_max_window_bits)
        return super().decode(frame, max_size=max_size)

    def encode(self, frame: Frame) -> Frame:
        if frame.opcode is not CONT and not hasattr(self, "encoder"):
            self.encoder = zlib.compressobj(wbits=-self.local_max_window_bits, **self.compress_settings)
        return super().encode(frame)

    def forget(self) -> None:
        """Drop the compressor; called when the connection is idle."""
        if hasattr(self, "encoder"):
            del self.encoder


class DeflateFactory(ServerPerMessageDeflateFactory):
    """Negotiates permessage-deflate with a client and makes the connection's `Deflate`."""

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        answer, negotiated = super().process_request_params(params, accepted_extensions)
        return answer, Deflate(negotiated)
