"""Messages of an ASGI application, checked and translated into HTTP's terms before any byte of them is sent.

Each function takes a message and raises TypeError or ValueError if it is wrong. The application's own `send` raises the
exception, so its text is for the application's author.
"""

import os
import stat
from collections.abc import Iterable, MutableMapping
from typing import Any

from septet.apps._files import OwnedDescriptor
from septet.exchange import Fields, FileRegion, Request, ResponseHead
from septet.http.cache import BoundedCache
from septet.http.head import reason_phrase, response_head

Message = MutableMapping[str, Any]


def head_of(message: Message) -> ResponseHead:
    """Make the head of the answer from `http.response.start`."""
    fields = tuple(message.get("headers", ()))
    try:
        key = message["status"], fields
        return _heads.get(key) or _new_head(*key)
    except TypeError:  # not hashable: pairs may be lists; or of a wrong type, which _checked_head reports
        return _checked_head(message["status"], _plain(fields))


def _checked_head(status: int, fields: Fields) -> ResponseHead:
    if not isinstance(status, int):
        raise TypeError(f"the status of an answer is an int, not {status!r}")
    return response_head(int(status), reason_phrase(status).encode("ascii"), fields)


_heads: BoundedCache[tuple[int, Fields], ResponseHead] = BoundedCache(256)
"""Cache of checked heads, by status and fields of `http.response.start`. Only plain bytes are cached: an object of a
class of the application's own would be kept alive, and its `__eq__` would be called for other requests.
"""


def _new_head(status: int, fields: Fields) -> ResponseHead:
    if not all(type(name) is type(value) is bytes for name, value in fields):
        return _checked_head(status, _plain(fields))
    head = _checked_head(status, fields)
    _heads.add((int(status), tuple((name, value) for name, value in fields)), head)
    return head


def fields_of(message: Message) -> Fields:
    """Return the `headers` of a message, which may be any iterable of pairs of bytes, as a tuple."""
    return _plain(message.get("headers", ()))


def _plain(fields: Iterable[Any]) -> Fields:
    """Return pairs of bytes as a tuple of pairs whose objects refer to nothing of the application."""
    return tuple((_bytes(name), _bytes(value)) for name, value in fields)


def _bytes(word: object) -> bytes:
    if not isinstance(word, (bytes, bytearray, memoryview)):
        raise TypeError(f"names and values of header fields are bytes, not {word!r}")
    return bytes(word)


def hints_of(message: Message) -> Fields:
    """Return the fields of an interim answer 103 (RFC 8297): the links in `http.response.early_hint`."""
    links: Iterable[bytes] = message.get("links", ())
    return tuple((b"Link", _bytes(link)) for link in links)


def region_of(message: Message) -> FileRegion:
    """Return the region of a file in `http.response.zerocopysend`. Moves the file's position as if the region had been
    read.

    The region has a descriptor of its own, because the application may close the file at any time. Raises ValueError or
    OSError if the file is not a regular one.
    """
    file = message["file"]
    descriptor: int = file if isinstance(file, int) else file.fileno()
    size = _status_of(descriptor).st_size
    offset, count = message.get("offset"), message.get("count")
    start = _tell(file) if offset is None else _whole("offset", offset)
    end = max(start, size if count is None else min(size, start + _whole("count", count)))
    if offset is None:
        _seek(file, end)
    owner = OwnedDescriptor()
    owner.number = os.dup(descriptor)
    owner.close_in_children()
    return FileRegion(owner.number, start, end - start, owner=owner)


def _whole(name: str, number: Any) -> int:
    if not isinstance(number, int) or number < 0:
        raise ValueError(f"the {name} of a stretch of a file is a whole number, not {number!r}")
    return number


def _tell(file: Any) -> int:
    position: int = os.lseek(file, 0, os.SEEK_CUR) if isinstance(file, int) else file.tell()
    return position


def _seek(file: Any, position: int) -> None:
    if isinstance(file, int):
        os.lseek(file, position, os.SEEK_SET)
    else:
        file.seek(position)


def path_region(message: Message) -> FileRegion:
    """Return the whole file in `http.response.pathsend`, as it is now: if it changes while it is sent, the answer is
    broken off (see `FileRegion.version`). Raises ValueError if the path is not absolute or not a regular file, OSError
    if it cannot be opened.
    """
    path: str = os.fspath(message["path"])
    if not os.path.isabs(path):
        raise ValueError(f"the path of a file to send is absolute, not {path!r}")
    # Without O_NONBLOCK, opening a FIFO would wait for a writer.
    owner = OwnedDescriptor()
    owner.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    owner.close_in_children()
    status = _status_of(owner.number)
    return FileRegion(owner.number, 0, status.st_size, (status.st_size, status.st_mtime_ns), owner)


def _status_of(descriptor: int) -> os.stat_result:
    """Return the status of a regular file. Raises ValueError for anything else, which sendfile(2) might not accept."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("what is to be sent is not a regular file")
    return status


class Trailers:
    """Fields after the content (RFC 9110 section 6.5). They are sent if the client has asked for them with TE."""

    def __init__(self, request: Request) -> None:
        accepted = [word.strip(b" \t") for name, value in request.fields if name == b"te" for word in value.split(b",")]
        self.wanted = b"trailers" in [word.lower() for word in accepted]
        self.fields: tuple[tuple[bytes, bytes], ...] = ()
        self.due = False
        """True once the content is complete, so that the fields may follow."""
