"""HPACK (RFC 7541) by the library `hpack`, with a cache of recent results.

Clients send the same fields again and again, and are answered with the same ones. While a connection's dynamic table
has not changed, the same header block decodes to the same fields, and the same fields encode to the same block. So each
connection keeps the last few of both, and forgets them when its table changes.
"""

from collections.abc import Iterable
from typing import Any

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

KEPT = 16
"""Number of encoded header blocks that a connection caches in each direction."""

KEPT_BYTES = 256
"""Bytes of the longest encoded header block that is cached. A field that is in the dynamic table takes one or two bytes
of a block.
"""


TABLE_BYTES = 4096
"""Most bytes that the encoder's dynamic table may hold, even if the client allows more: each field is searched for in
it, and each connection keeps one.
"""

SIZES = 16
"""Most changes of the dynamic table's size with which a header block may begin (RFC 7541 section 4.2 knows of two)."""

WORDS = 200
"""Most characters of the library's error message about a broken header block that are logged: the message may quote the
whole block.
"""


class CompressionError(ProtocolError):
    """The client's header block cannot be decoded. It ends the connection with COMPRESSION_ERROR, as RFC 9113 section
    4.3 demands; the library's own error would give another code.
    """

    error_code = ErrorCodes.COMPRESSION_ERROR


class RememberingEncoder(Encoder):
    """The HPACK encoder of one connection, with a cache of header blocks by their fields."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[Any, bytes] = {}
        self._newest: Any = None
        """The newest entry of the dynamic table after the last call. If the newest entry is another one at the next
        call, the table has changed, and the cache is emptied.
        """

    @property
    def header_table_size(self) -> int:
        """Bytes that the dynamic table may hold, at most TABLE_BYTES. The library sets it to what the client's SETTINGS
        allow.
        """
        return int(self.header_table.maxsize)

    @header_table_size.setter
    def header_table_size(self, size: int) -> None:
        size = min(size, TABLE_BYTES)
        self.header_table.maxsize = size
        if self.header_table.resized:
            self.table_size_changes.append(size)

    def encode(self, headers: Any, huffman: bool = True) -> bytes:
        key = tuple(headers)
        if not self.table_size_changes:
            known = self._known.get(key)
            if known is not None:
                return known
        else:
            self._known.clear()
        block = super().encode(key, huffman)
        self._newest = _remember(self._known, key, block, block, self.header_table.dynamic_entries, self._newest)
        return block


class RememberingDecoder(Decoder):
    """The HPACK decoder of one connection, with a cache of fields by their header block."""

    def __init__(self, max_header_list_size: int) -> None:
        super().__init__(max_header_list_size)
        self._known: dict[Any, Any] = {}
        self._newest: Any = None

    def decode(self, data: bytes, raw: bool = False) -> Iterable[Any]:
        known = self._known.get(data)
        if known is not None:
            return known  # type: ignore[no-any-return]
        if data[:1] and _is_size(data[0]):
            _check_sizes(data)
        try:
            headers = list(super().decode(data, raw))
        except OversizedHeaderListError:
            raise
        except (HPACKError, IndexError, UnicodeDecodeError) as error:
            raise CompressionError(f"a header block cannot be decoded: {str(error)[:WORDS]}") from None
        entries = self.header_table.dynamic_entries
        self._newest = _remember(self._known, bytes(data), headers, data, entries, self._newest)
        return headers


def _is_size(first: int) -> bool:
    """True if a byte of a block begins a change of the table's size (RFC 7541 section 6.3)."""
    return first & 0xE0 == 0x20


def _check_sizes(block: bytes) -> None:
    """Raise CompressionError if a header block begins with more than SIZES changes of the dynamic table's size: each
    takes time, and none counts against the limit on the size of the fields.
    """
    position = count = 0
    while position < len(block) and _is_size(block[position]):
        count += 1
        if count > SIZES:
            raise CompressionError("a header block changes the size of the table again and again")
        goes_on = block[position] & 0x1F == 0x1F
        position += 1
        while goes_on and position < len(block):
            goes_on = block[position] >= 0x80
            position += 1


def _remember(known: dict[Any, Any], key: Any, value: Any, block: bytes, entries: Any, newest: Any) -> Any:
    """Add `key: value` to the cache `known`, unless `block` is longer than KEPT_BYTES; or empty the cache if `block`
    has changed the dynamic table. Returns the newest of the table's `entries`, which is `newest` at the next call.
    """
    now = entries[0] if entries else None
    if now is not newest or (block and _is_size(block[0])):  # the second begins with another size of the table
        known.clear()
    elif len(block) <= KEPT_BYTES:
        if len(known) >= KEPT:
            known.clear()
        known[key] = value
    return now
