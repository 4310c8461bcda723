"""The certificates and keys of a server: chooses one for each client by SNI, renews them while the server runs, and
warns before one ends. What the files must hold is in `tls_files`.

Every connection begins with the same OpenSSL context, `_front`: that of the first pair, made before the server forks.
It holds the keys of session tickets, so every process can resume a session. When the client has named the host (SNI,
RFC 6066 section 3), `_choose` replaces the context by that of another pair, for the rest of the handshake. Renewing
makes new contexts, which `_choose` then uses; running connections keep theirs.

If clients are asked for certificates, renewing replaces `_front` as well: a resumed session is not verified again, so a
ticket would outlive a new list of revoked certificates. Such clients make full handshakes until all processes have
renewed, and later whenever they reach another process.
"""

import logging
import os
import ssl
import struct
import sys
from contextlib import suppress
from mmap import mmap
from threading import Lock
from time import monotonic, time
from typing import Any

from septet.errors import UsageError
from septet.net.tls_files import Loaded, TlsContext, TlsOptions, load
from septet.net.validity import CERTIFICATE

log = logging.getLogger("septet")

WATCH_S = 1.0
"""Least seconds between two looks at the clock, and at the files of certificates and keys (`--tls-watch`)."""

SETTLED_S = 1.0
"""Seconds for which files must not have changed before they are loaded: a certificate and its key are two files, which
are not replaced at the same instant.
"""

RETRY_SHARE = 100
"""Loading files that could not be used is tried again at the next look, but after this many times the time that the
last attempt took, as it holds up the process's clients: files that stay bad take a hundredth of its time at most.
"""

WARN_AGAIN_S = 86400.0
"""Least seconds between two warnings that something ends soon, from all processes together."""

_INSTANT = struct.Struct("d")


class TlsObject(ssl.SSLObject):
    """The server's side of one TLS connection, whose encrypted bytes are in memory, not on a socket."""

    server_name: str | None = None
    """The host name that the client asked for (SNI); None if it named none."""


class Certificates:
    """All certificates of a server, with their keys. Threads may share one object; a forked process has its own
    copy.
    """

    def __init__(self, options: TlsOptions, warns: bool = True) -> None:
        """Load the certificates and keys. Raises UsageError, with a sentence that names the file. `warns`: False if
        another object has loaded the same files before, and has warned of what is wrong with them.
        """
        _silence_names()
        self._options = options
        self._looking = Lock()
        self._seen = self._stamps()
        """What `_stamps` returned when the files were last loaded. If it returns something else now, a file has changed
        since.
        """
        self._failed: list[tuple[int, float]] = []
        """What `_stamps` returned when loading the files was last tried in vain."""
        self._retry_at = 0.0
        """When to try to load the same files again, on the clock of `monotonic`."""
        self._told: set[str] = set()
        """Why the files of `_failed` could not be loaded: what was logged."""
        self._looked_at = monotonic()
        self._warned_at = mmap(-1, _INSTANT.size)
        """Memory that all processes forked from this one share: when one of them last warned that something ends soon,
        in seconds since 1970; 0: not yet.
        """
        loaded = load(options)
        self._use(loaded)
        self._front = self._as_front(self._default)
        if warns:
            for path in loaded.nameless:
                log.warning("SEP174 the certificate %s has no subjectAltName: browsers refuse it", path)
            self._warn_of_ends()
        else:
            self._warned_at[:] = _INSTANT.pack(time())

    def _use(self, loaded: Loaded) -> None:
        self._validities = loaded.validities
        self._names = loaded.names
        self._default = loaded.contexts[0]
        self.ends = tuple(each.ends for each in self._validities if each.what == CERTIFICATE)
        """When each certificate expires, in seconds since 1970, in the order of the options."""

    def wrap(self, received: ssl.MemoryBIO, to_send: ssl.MemoryBIO) -> ssl.SSLObject:
        """Return the server's side of a new TLS connection. `received`: holds what the client has sent, encrypted.
        `to_send`: gets what is to be sent to it, encrypted.
        """
        return self._front.wrap_bio(received, to_send, server_side=True)

    def reload(self) -> bool:
        """Load all files again, for future handshakes, and return True. If one of them is bad, or what it takes to
        load them is lacking (descriptors, memory), return False, log why, and go on with the certificates that are in
        use.
        """
        try:
            loaded = load(self._options)
            front = self._front if self._options.client_auth == "none" else self._as_front(loaded.contexts[0])
        except (UsageError, OSError, MemoryError) as error:
            why = str(error) or "out of memory"
            if why not in self._told:
                self._told.add(why)
                log.error("SEP171 the certificates were not renewed, and those before stay in use: %s", why)
            return False
        self._told.clear()
        self._use(loaded)
        self._front = front
        log.info("new certificates are in use: %s", ", ".join(pair.certificate for pair in self._options.pairs))
        return True

    def look(self) -> None:
        """Renew what has changed (`--tls-watch`), and warn of what ends soon. Called for each new client, but it does
        something at most once in WATCH_S seconds.
        """
        if monotonic() - self._looked_at < WATCH_S or not self._looking.acquire(blocking=False):
            return
        try:
            self._looked_at = monotonic()
            if self._options.watch:
                self._renew_if_changed()
            self._warn_of_ends()
        finally:
            self._looking.release()

    def _renew_if_changed(self) -> None:
        """Load all files again if one has changed and none was changed within the last SETTLED_S seconds. If that
        fails, it is tried again until it succeeds: the files may be good, and a descriptor was lacking.
        """
        stamps = self._stamps()
        if stamps == self._seen or any(0 <= time() - changed < SETTLED_S for _, changed in stamps):
            return
        began = monotonic()
        if stamps != self._failed:
            self._told.clear()
        elif began < self._retry_at:
            return
        if self.reload():
            self._seen = stamps
        else:
            self._failed = stamps
            now = monotonic()
            self._retry_at = now + RETRY_SHARE * (now - began)

    def _warn_of_ends(self) -> None:
        """Warn of certificates and lists of revoked ones that end soon or have ended, unless a process has done so
        within WARN_AGAIN_S seconds. One that has ended since then is worth another warning.
        """
        now = time()
        ending = [each for each in self._validities if each.ends_soon(now)]
        if not ending:
            return
        (before,) = _INSTANT.unpack(self._warned_at[:])
        if now - before >= WARN_AGAIN_S or any(before < each.ends <= now for each in ending):
            self._warned_at[:] = _INSTANT.pack(now)
            for each in ending:
                each.warn(now)

    def _stamps(self) -> list[tuple[int, float]]:
        """Return for each file its inode number and the time of its last change (of content, name or rights); both are
        0 for a missing file. Returns an empty list without `--tls-watch`.
        """
        stamps = []
        for path in self._options.files() if self._options.watch else ():
            found = (0, 0.0)
            with suppress(OSError):
                status = os.stat(path)
                found = status.st_ino, status.st_ctime
            stamps.append(found)
        return stamps

    def _as_front(self, context: TlsContext) -> TlsContext:
        context.sslobject_class = TlsObject
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: Any, name: str | None, context: ssl.SSLContext) -> None:
        """Called by OpenSSL in each handshake: have the connection use the context of the certificate for the host
        name that the client has sent. `name` is None if it has sent none: then the default certificate is used.
        """
        connection.server_name = name
        chosen = self._by_name(name) if name else self._default
        if chosen is not context:
            connection.context = chosen

    def _by_name(self, name: str) -> TlsContext:
        """Return the context of the certificate that has this host name, or a wildcard in place of the name's first
        label (RFC 6125 section 6.4.3); the default context if there is none.
        """
        name = name.lower().rstrip(".")
        names = self._names
        return names.get(name) or names.get("*." + name.partition(".")[2]) or self._default


_silenced = False


def _silence_names() -> None:
    """Suppress the traceback that Python prints (sys.unraisablehook) when it refuses a handshake whose host name (SNI)
    is not ASCII: any client could fill the log.
    """
    global _silenced
    if _silenced:
        return
    _silenced = True
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not (isinstance(unraisable.exc_value, UnicodeDecodeError) and isinstance(unraisable.object, bytes)):
            before(unraisable)

    sys.unraisablehook = hook
