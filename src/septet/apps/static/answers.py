"""Answers to a request for a file: all of it, parts of it, or an error (RFC 9110 sections 13.2.2, 14 and 15)."""

import os
from collections.abc import Callable, Iterable

from septet.apps._files import OwnedDescriptor
from septet.apps.static.file_request import FileRequest
from septet.apps.static.files import Representation, Resource
from septet.apps.static.ranges import Multipart, Piece, Span, select
from septet.exchange import Fields, FileRegion, Part, Response, ResponseHead
from septet.http.head import reason_phrase, response_head

Open = Callable[[Representation], OwnedDescriptor]
"""A function that opens a file which `Files.find` has found. Raises OSError, and `files.Changed` if the file has
changed since.
"""

_BOUNDARY_BYTES = 16
"""Random bytes in the boundary of a multipart answer."""


def plain(status: int, fields: Fields = ()) -> Response:
    """Return an answer with this status, these further header fields, and the reason phrase as its content."""
    reason = reason_phrase(status).encode("ascii")
    text = ((b"Content-Type", b"text/plain; charset=utf-8"),)
    return response_head(status, reason, text + fields), reason + b"\n", None


def answer(wanted: FileRequest, resource: Resource, open_file: Open) -> Response:
    """Return the answer to a GET or HEAD for a file that exists. Raises what `open_file` raises."""
    found = resource.choose(wanted.accepted)
    if found is None:
        return plain(406, ((b"Vary", b"Accept-Encoding"),))
    conditions = wanted.conditions
    if conditions is not None:
        status = conditions.status(found.validators)
        if status == 304:
            return found.not_modified
        if status == 412:
            return plain(412)
    # An empty file has no part that Content-Range could name; any range may be ignored (section 14.2).
    if wanted.ranges is None or not found.size or not (conditions is None or conditions.permit_range(found.validators)):
        return _whole(wanted, found, open_file)
    spans = select(wanted.ranges, found.size)
    if not spans:
        return plain(416, ((b"Content-Range", b"bytes */%d" % found.size),))
    return _part(found, spans[0], open_file) if len(spans) == 1 else _parts(found, spans, open_file)


def _whole(wanted: FileRequest, found: Representation, open_file: Open) -> Response:
    if found.content is not None or not wanted.content:
        return found.whole
    return _filled(found.whole[0], found, (Span(0, found.size),), open_file)


def _part(found: Representation, span: Span, open_file: Open) -> Response:
    said = (b"Content-Range", span.content_range(found.size))
    head = found.head(206, b"Partial Content", span.stop - span.start, found.media_type, said)
    return _filled(head, found, (span,), open_file)


def _parts(found: Representation, spans: list[Span], open_file: Open) -> Response:
    """Return the answer with several ranges (RFC 9110 section 15.3.7.2). The boundary is random, so that no file can
    contain it.
    """
    boundary = os.urandom(_BOUNDARY_BYTES).hex().encode("ascii")
    frame = Multipart(boundary, found.media_type, spans, found.size)
    head = found.head(206, b"Partial Content", frame.length, frame.content_type)
    return _filled(head, found, frame.pieces(), open_file)


def _filled(head: ResponseHead, found: Representation, pieces: Iterable[Piece], open_file: Open) -> Response:
    """Return an answer with these pieces as its content. If the file is in memory they are joined; else they are sent
    one by one, parts of the file by sendfile(2).
    """
    content = found.content
    if content is not None:
        return head, b"".join(piece if isinstance(piece, bytes) else content[slice(*piece)] for piece in pieces), None
    parts = _Pieces(open_file(found), found.version, pieces)
    first = next(parts)
    return head, first, None if isinstance(first, FileRegion) else parts


class _Pieces:
    """The parts of an answer from an open file, as a `ResponseParts`: the server takes one after the other and sends
    it. The file is closed when the last part has been sent.
    """

    whole = False

    def __init__(self, file: OwnedDescriptor, version: tuple[int, int], pieces: Iterable[Piece]) -> None:
        self._owner: OwnedDescriptor | None = file
        self._version = version
        self._pieces = iter(pieces)

    def __next__(self) -> Part:
        piece = next(self._pieces)
        owner = self._owner
        if isinstance(piece, bytes) or owner is None:
            return b"" if isinstance(piece, Span) else piece
        return FileRegion(owner.number, piece.start, piece.stop - piece.start, self._version, owner)

    def detach(self) -> None:
        """Do nothing. The parts of an application's answer give up their exchange here, when the content is complete;
        these parts of a file refer to none.
        """

    def close(self) -> None:
        self._owner = None
