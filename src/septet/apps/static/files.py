"""The files of a directory, with their heads and compressed variants, and a cache of them.

Small files are kept in memory with their heads. Before a cached file is used, lstat(2) checks that it has not changed
(`tree.unchanged`), so the next request after a change sees it. Two changes within one tick of the file system's clock
give a file the same times; so a file is cached only after it has not changed for a while.
"""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from threading import Lock

from septet.apps._files import OwnedDescriptor
from septet.apps.static.codings import IDENTITY, SUFFIXES, Accepted
from septet.apps.static.conditions import Validators
from septet.apps.static.media import media_type, own_coding
from septet.apps.static.tree import LINK_MET, Identity, PathState, Tree, identity, is_plain, open_in, unchanged
from septet.date_and_server import http_date
from septet.exchange import Fields, Response, ResponseHead
from septet.http.head import response_head

IN_MEMORY = 65536
"""Bytes up to which a file is read into memory and sent with its head in one call. For larger ones sendfile(2) is
cheaper."""

REMEMBERED_BYTES = 8 << 20
"""Bytes that a process caches for one directory at most; the oldest file is dropped first."""

SETTLED_NS = 2 * 10**9
"""Nanoseconds for which a file must not have changed to be cached. The coarsest clock of a file system (FAT) ticks
every two seconds; git distrusts its index for younger files for the same reason."""

_OVERHEAD = 4096
"""Bytes of memory that the paths, heads and identities of one cached file need, about."""

Clock = Callable[[], int]
"""A function that returns nanoseconds since 1970, on the clock of the file system."""

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES, errno.ENXIO})


class Changed(Exception):
    """The file changed while it was examined, or before it was opened. The request is then handled anew, up to ATTEMPTS
    times in all.
    """


@dataclass(frozen=True, eq=False)
class Representation:
    """One file that may be sent: the one that was asked for, or a compressed variant of it."""

    name: bytes
    coding: bytes
    identity: Identity
    content: bytes | None
    """The whole file; None if it is larger than IN_MEMORY."""
    validators: Validators
    caching_fields: Fields
    """The header fields of an answer 200 that an answer 304 repeats (RFC 9110 section 15.4.5)."""
    media_type: bytes
    codings: Fields = ()
    """The header field Content-Encoding; () if the file is sent without a content coding."""

    @property
    def size(self) -> int:
        return self.identity.size

    @property
    def version(self) -> tuple[int, int]:
        """Size in bytes and time of the last modification in ns, which must not change while the file is sent: see
        `FileRegion.version`.
        """
        return self.identity.size, self.identity.modified_ns

    def head(self, status: int, reason: bytes, length: int, kind: bytes, *more: tuple[bytes, bytes]) -> ResponseHead:
        """Return the head of an answer with `length` bytes of content: the file, or parts of it. `kind`: the content's
        media type. `more`: further header fields.
        """
        framing = ((b"Accept-Ranges", b"bytes"), (b"Content-Length", b"%d" % length))
        return response_head(
            status, reason, (*self.caching_fields, (b"Content-Type", kind), *self.codings, *more, *framing)
        )

    @cached_property
    def whole(self) -> Response:
        """The answer 200 with the whole file as its content. If the file is not in memory, this holds the head alone,
        and the caller adds the file as a `FileRegion`.
        """
        return self.head(200, b"OK", self.size, self.media_type), self.content or b"", None

    @cached_property
    def not_modified(self) -> Response:
        return response_head(304, b"Not Modified", self.caching_fields), b"", None


@dataclass(frozen=True, eq=False)
class Resource:
    """A file with its compressed variants (`page.html.br` for `page.html`)."""

    representations: dict[bytes, Representation]
    """The file and its compressed variants by coding, in the order in which they are preferred if the client gives them
    the same weight.
    """
    path_states: tuple[PathState, ...]
    """The paths on which this object depends (the directories that lead to the file, the file itself, and its
    compressed variants), each with its state. The object may be used again as long as `tree.unchanged` finds all of
    them in these states.
    """
    sole: Representation | None
    """The file without a coding, if there are no compressed files beside it, so that there is nothing to choose. None
    if there are any, even if they are older than the file and so not served.
    """

    def choose(self, accepted: Accepted) -> Representation | None:
        """Return the representation that the client prefers; None if it accepts none."""
        if self.sole is not None:
            return self.sole if accepted.identity else None
        coding = accepted.best(self.representations)
        return None if coding is None else self.representations[coding]


class Files:
    """The files below a directory (a `tree.Tree`), and a cache of them. May be used by several threads."""

    def __init__(self, tree: Tree, cache_control: bytes, clock: Clock) -> None:
        self._tree = tree
        self._cache_control = ((b"Cache-Control", cache_control),) if cache_control else ()
        self._clock = clock
        self._remembered: dict[bytes, Resource] = {}
        self._bytes = 0
        self._lock = Lock()
        """Held while a file is added to or dropped from the cache. Reading the cache needs no lock."""
        media_type("")  # imports what it needs now, while there are descriptors

    def find(self, name: bytes) -> Resource:
        """Return the file that has this name now, from the cache if it has not changed.

        Raises OSError as open(2) does: FileNotFoundError also for a file that is not regular or lies outside of the
        directory, IsADirectoryError for a directory. Raises Changed if the file changes meanwhile.
        """
        known = self._recall(name)
        if known is not None:
            return known
        try:
            if is_plain(name):
                return self._examine(name)
        except OSError as error:
            if error.errno not in LINK_MET:
                raise
        try:
            resolved = self._tree.resolve(name)
        except OSError as error:
            if error.errno == errno.EINVAL:  # from readlink(2): the link was replaced by something else meanwhile
                raise Changed from None
            raise
        return self._recall(resolved) or self._examine(resolved)

    def open(self, found: Representation) -> OwnedDescriptor:
        """Open a file that `find` has found. Raises OSError, and Changed if the file has changed since."""
        file = OwnedDescriptor()
        file.number = self._tree.open(found.name)
        file.close_in_children()
        if identity(os.fstat(file.number)) != found.identity:
            raise Changed
        return file

    def _examine(self, name: bytes) -> Resource:
        """Read the file called `name` and the compressed files beside it, and cache them. `name` must be plain
        (`tree.is_plain`).

        Raises OSError as open(2) does, with an errno in `LINK_MET` if a component of the name is a link, and Changed if
        the file changes meanwhile.
        """
        now_ns = self._clock()
        # Before anything is opened, so that `unchanged` notices a change that comes from now on.
        ancestors = self._tree.ancestors(name)
        with self._tree.directory_of(name) as directory:
            original = _read_in(directory, name)
            beside = {coding: _read_beside(directory, name + suffix) for coding, suffix in SUFFIXES.items()}
        coded = {coding: read for coding, read in beside.items() if read is not None}
        fresh = {coding: read for coding, read in coded.items() if not read.older_than(original)}
        kind = media_type(os.fsdecode(name)).encode("ascii")
        own = own_coding(os.fsdecode(name)).encode("ascii")
        representations = {
            coding: self._represent(read, coding, kind, own, now_ns, bool(coded))
            for coding, read in (*fresh.items(), (IDENTITY, original))
        }
        path_states = (*ancestors, *(read.path_state(self._tree) for read in (original, *coded.values())))
        sole = None if coded else representations[IDENTITY]
        resource = Resource(representations, path_states, sole)
        self._remember(name, resource, now_ns)
        return resource

    def _represent(
        self, read: "_ReadFile", coding: bytes, kind: bytes, own: bytes, now_ns: int, negotiated: bool
    ) -> Representation:
        status = read.identity
        # With a date in the future clients would not ask again before it (RFC 9110 section 8.8.2.1).
        modified_s = min(status.modified_ns, now_ns) // 10**9
        date = http_date(modified_s).encode("ascii")
        validators = Validators(_tag(status, coding), date, modified_s, settled=modified_s < now_ns // 10**9)
        vary = ((b"Vary", b"Accept-Encoding"),) if negotiated else ()
        caching_fields = ((b"ETag", validators.tag), (b"Last-Modified", date), *self._cache_control, *vary)
        # In the order in which they were applied (RFC 9110 section 8.4).
        codings = b", ".join(filter(None, (own, b"" if coding == IDENTITY else coding)))
        fields = ((b"Content-Encoding", codings),) if codings else ()
        return Representation(read.name, coding, status, read.content, validators, caching_fields, kind, fields)

    def _recall(self, name: bytes) -> Resource | None:
        known = self._remembered.get(name)
        return known if known is not None and unchanged(known.path_states) else None

    def _remember(self, name: bytes, resource: Resource, now_ns: int) -> None:
        if any(seen.changed_ns > now_ns - SETTLED_NS for _, seen in resource.path_states):
            return
        with self._lock:
            self._forget(name)
            self._remembered[name] = resource
            self._bytes += _weight(resource)
            while self._bytes > REMEMBERED_BYTES:
                self._forget(next(iter(self._remembered)))

    def _forget(self, name: bytes) -> None:
        old = self._remembered.pop(name, None)
        if old is not None:
            self._bytes -= _weight(old)


@dataclass(frozen=True, slots=True)
class _ReadFile:
    """A regular file that was read: its name, its state, and its content if it is small enough to be held in memory."""

    name: bytes
    identity: Identity
    content: bytes | None

    def older_than(self, other: "_ReadFile") -> bool:
        return self.identity.modified_ns < other.identity.modified_ns

    def path_state(self, tree: Tree) -> PathState:
        return tree.path(self.name), self.identity


def _read_in(directory: int, name: bytes) -> _ReadFile:
    """Read the file `name`, whose directory has the descriptor `directory`. Raises OSError, and Changed if the file is
    written to meanwhile.
    """
    descriptor = open_in(directory, name)
    try:
        found = identity(os.fstat(descriptor))
        if stat.S_ISDIR(found.mode):
            raise IsADirectoryError(errno.EISDIR, "a directory")
        if not stat.S_ISREG(found.mode):
            raise FileNotFoundError(errno.ENOENT, "not a regular file")
        if found.size > IN_MEMORY:
            return _ReadFile(name, found, None)
        content = os.pread(descriptor, found.size, 0)
        if len(content) != found.size or identity(os.fstat(descriptor)) != found:
            raise Changed
        return _ReadFile(name, found, content)
    finally:
        os.close(descriptor)


def _read_beside(directory: int, name: bytes) -> _ReadFile | None:
    """Read the file `name`, whose directory has the descriptor `directory`; return None if there is no regular file of
    that name. Raises OSError for other failures, and Changed if the file is written to meanwhile.
    """
    try:
        return _read_in(directory, name)
    except OSError as error:
        if is_absence(error):
            return None
        raise


def is_absence(error: OSError) -> bool:
    """True if the error means that there is no such file (404). Other errors, such as EMFILE, are failures."""
    return isinstance(error, IsADirectoryError) or error.errno in _ABSENT


def _tag(status: Identity, coding: bytes) -> bytes:
    """Return a strong entity tag for one state of a file with a content coding. It is a hash, because inode numbers
    must not be disclosed (CVE-2003-1418).
    """
    state = b"%b %d %d %d %d" % (coding, status.inode, status.size, status.modified_ns, status.changed_ns)
    return b'"%b"' % blake2b(state, digest_size=12).hexdigest().encode("ascii")


def _weight(resource: Resource) -> int:
    return _OVERHEAD + sum(len(each.content or b"") for each in resource.representations.values())
