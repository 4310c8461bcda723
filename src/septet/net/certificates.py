"""Certificates and keys: loads and checks them, chooses one for each client by SNI, and renews them while the server
runs.

The standard library decodes a certificate only in a handshake. So each pair of certificate and key is tried in a
handshake with itself, in memory, which takes 2 ms. This gives the certificate's names, and shows that the key fits,
that the certificate is valid today, and that a server may use it.

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
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from time import monotonic, time
from typing import Any

from septet.errors import UsageError

log = logging.getLogger("septet")

WATCH_S = 1.0
"""Least seconds between two checks whether the files of certificates and keys have changed (`--tls-watch`)."""

SETTLED_S = 1.0
"""Seconds for which files must not have changed before they are loaded: a certificate and its key are two files, which
are not replaced at the same instant.
"""

WARN_DAYS = 14
"""If a certificate is valid for fewer days than this, a warning is logged. Let's Encrypt's are renewed with 30 days
left.
"""

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_AUTHENTICATION = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}

_EXPIRED = 10
_NOT_YET_VALID = 9
"""OpenSSL's number for a certificate that is not valid yet (X509_V_ERR_CERT_NOT_YET_VALID)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The file of a certificate with its chain, and the file of its key, both in PEM. They may be the same file."""

    certificate: str
    key: str
    password: str | None = None
    """Path of a file whose first line is the key's password; None if the key is not encrypted."""

    @classmethod
    def of(cls, certificates: Sequence[str], keys: Sequence[str], passwords: Sequence[str]) -> "tuple[Pair, ...]":
        """Return the pairs that the options name, in their order. Without keys, each certificate's file also holds its
        key. A single password is used for all keys.
        """
        keys = keys or certificates
        several: Sequence[str | None] = passwords or (None,)
        if len(several) == 1:
            several = [*several] * len(keys)
        return tuple(map(cls, certificates, keys, several))


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """The values of all options about TLS. `settings.checks` has checked that they fit together."""

    pairs: tuple[Pair, ...]
    client_ca: str | None = None
    client_auth: str = "none"
    crl: str | None = None
    min_version: str = "1.2"
    ciphers: str | None = None
    watch: bool = False
    protocols: tuple[str, ...] = ("http/1.1",)
    """The protocols that the server offers by ALPN (RFC 7301), the preferred one first."""

    def files(self) -> Iterator[str]:
        for pair in self.pairs:
            yield from filter(None, (pair.certificate, pair.key, pair.password))
        yield from filter(None, (self.client_ca, self.crl))


class TlsContext(ssl.SSLContext):
    """The OpenSSL context of one certificate and its key."""

    certificate: str
    """The first certificate of the file, in PEM, as it is sent to clients."""


class TlsObject(ssl.SSLObject):
    """The server's side of one TLS connection, whose encrypted bytes are in memory, not on a socket."""

    server_name: str | None = None
    """The host name that the client asked for (SNI); None if it named none."""


class Certificates:
    """All certificates of a server, with their keys. Threads may share one object; a forked process has its own
    copy.
    """

    def __init__(self, options: TlsOptions) -> None:
        """Load the certificates and keys. Raises UsageError, with a sentence that names the file."""
        _silence_names()
        self._options = options
        self._renewing = Lock()
        self._seen = self._stamps()
        """What `_stamps` returned when the files were last loaded, or when loading them was last tried. If it returns
        something else now, a file has changed since.
        """
        self._looked_at = monotonic()
        self._names, self._default, self.ends = _load(options)
        """`_names`: the OpenSSL context for each host name that a certificate has. `_default`: the context for all
        other names, that of the first certificate. `ends`: when each certificate expires, in seconds since 1970, in the
        order of the options.
        """
        self._front = self._as_front(self._default)

    def wrap(self, received: ssl.MemoryBIO, to_send: ssl.MemoryBIO) -> ssl.SSLObject:
        """Return the server's side of a new TLS connection. `received`: holds what the client has sent, encrypted.
        `to_send`: gets what is to be sent to it, encrypted.
        """
        return self._front.wrap_bio(received, to_send, server_side=True)

    def reload(self) -> bool:
        """Load all files again, for future handshakes, and return True. If one of them is bad, return False, log
        which, and go on with the certificates that are in use.
        """
        try:
            names, default, ends = _load(self._options)
            front = self._front if self._options.client_auth == "none" else self._as_front(default)
        except UsageError as error:
            log.error("the certificates were not renewed, and those before stay in use: %s", error)
            return False
        self._names, self._default, self._front, self.ends = names, default, front, ends
        log.info("new certificates are in use: %s", ", ".join(pair.certificate for pair in self._options.pairs))
        return True

    def renew_if_changed(self) -> None:
        """With `--tls-watch`: load all files again if one has changed and none was changed within the last SETTLED_S
        seconds. Called for each new client, but it looks at the files at most once in WATCH_S seconds.
        """
        if not self._options.watch or monotonic() - self._looked_at < WATCH_S:
            return
        if not self._renewing.acquire(blocking=False):
            return
        try:
            self._looked_at = monotonic()
            stamps = self._stamps()
            if stamps != self._seen and not any(0 <= time() - changed < SETTLED_S for _, changed in stamps):
                self._seen = stamps
                self.reload()
        finally:
            self._renewing.release()

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


def _load(options: TlsOptions) -> tuple[dict[str, TlsContext], TlsContext, tuple[float, ...]]:
    """Load all pairs of certificate and key. Returns the OpenSSL context for each host name that a certificate
    has, the context of the first pair, which is the default, and when each certificate expires, in seconds since
    1970. Raises UsageError.
    """
    names: dict[str, TlsContext] = {}
    contexts = []
    ends = []
    for pair in options.pairs:
        context = _context(options, pair)
        decoded = _decoded(context, pair)
        ends.append(float(ssl.cert_time_to_seconds(decoded["notAfter"])))
        _warn_of_end(pair, decoded)
        for name in _names_of(decoded):
            names.setdefault(name, context)
        _configure(context, options)
        contexts.append(context)
    return names, contexts[0], tuple(ends)


def _context(options: TlsOptions, pair: Pair) -> TlsContext:
    """Return an OpenSSL context that has this certificate and key, and no other TLS option set. Raises UsageError."""
    text = _read("--tls-certificate", pair.certificate)
    key = _read("--tls-key", pair.key)
    first = _first_certificate(text)
    if first is None:
        raise UsageError(f"--tls-certificate is {pair.certificate!r}, but must have a certificate in PEM")
    if b"PRIVATE KEY-----" not in key:
        if pair.key == pair.certificate:
            raise UsageError(f"--tls-certificate {pair.certificate!r} has no private key: give --tls-key")
        raise UsageError(f"--tls-key is {pair.key!r}, but must have a private key in PEM")
    password = None if pair.password is None else _read("--tls-key-password-file", pair.password).partition(b"\n")[0]
    context = TlsContext(ssl.PROTOCOL_TLS_SERVER)
    context.certificate = first
    asked = []

    def tell_password() -> bytes:  # without it OpenSSL would ask at the terminal
        asked.append(True)
        return password.rstrip(b"\r") if password else b""

    try:
        context.load_cert_chain(pair.certificate, pair.key, tell_password)
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(_why_not(pair, error, bool(asked))) from None
    except OSError as error:  # replaced meanwhile
        raise UsageError(f"--tls-certificate {pair.certificate!r} cannot be read: {error.strerror}") from None
    return context


def _why_not(pair: Pair, error: Exception, asked: bool) -> str:
    reason = getattr(error, "reason", None) or str(error)
    if asked:
        if pair.password is None:
            return f"--tls-key is {pair.key!r}, which is encrypted: --tls-key-password-file must give its password"
        return f"--tls-key-password-file is {pair.password!r}, but must have the password of the key {pair.key!r}"
    if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED", "NO_PRIVATE_KEY_ASSIGNED"):
        return f"--tls-key is {pair.key!r}, but must be the key of the certificate {pair.certificate!r}"
    words = str(reason).replace("_", " ").lower()
    return f"--tls-certificate {pair.certificate!r} with --tls-key {pair.key!r} cannot be used: {words}"


def _read(option: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"{option} is {path!r}, but must be a file that can be read: {error.strerror}") from None


def _first_certificate(text: bytes) -> str | None:
    begin, end = text.find(b"-----BEGIN CERTIFICATE-----"), text.find(b"-----END CERTIFICATE-----")
    if not 0 <= begin < end:
        return None
    return text[begin : end + len(b"-----END CERTIFICATE-----")].decode("ascii", "replace") + "\n"


def _decoded(context: TlsContext, pair: Pair) -> dict[str, Any]:
    """Return the certificate as `ssl.SSLSocket.getpeercert` decodes it. Raises UsageError if it is not valid."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it vouches for itself, and no other is looked at
    sent, received = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        trusting.load_verify_locations(cadata=context.certificate)
        client = trusting.wrap_bio(received, sent)
        server = context.wrap_bio(sent, received, server_side=True)
        for side in (client, server, client):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        return dict(client.getpeercert() or {})
    except ssl.SSLCertVerificationError as error:
        wrong = {_EXPIRED: "has expired", _NOT_YET_VALID: "is not valid yet"}.get(error.verify_code)
        wrong = wrong or f"is refused by clients: {error.verify_message}"
        raise UsageError(f"--tls-certificate is {pair.certificate!r}, which {wrong}") from None
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(f"--tls-certificate {pair.certificate!r} cannot be used: {error}") from None


def _warn_of_end(pair: Pair, certificate: dict[str, Any]) -> None:
    left_s = ssl.cert_time_to_seconds(certificate["notAfter"]) - time()
    if left_s < WARN_DAYS * 86400:
        end = certificate["notAfter"]
        log.warning("the certificate %s expires in %d days, at %s", pair.certificate, left_s // 86400, end)


def _names_of(certificate: dict[str, Any]) -> Iterator[str]:
    """Return the certificate's DNS names; its common name if it has no DNS names (RFC 2818 section 3.1)."""
    names = [value.lower() for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    if not certificate.get("subjectAltName"):
        parts = [part for several in certificate.get("subject", ()) for part in several]
        names = [value.lower() for key, value in parts if key == "commonName"]
    yield from names


def _configure(context: TlsContext, options: TlsOptions) -> None:
    """Set all options of a context, except its certificate and key. Raises UsageError."""
    context.minimum_version = _VERSIONS[options.min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 1  # each costs 20 us of a handshake's 240, and a client is given another when it comes back
    context.set_alpn_protocols(list(options.protocols))
    if options.ciphers:
        try:
            context.set_ciphers(options.ciphers)
        except ssl.SSLError:
            raise UsageError(
                f"--tls-ciphers is {options.ciphers!r}, but must be a list of ciphers that OpenSSL knows, see "
                "openssl-ciphers(1)"
            ) from None
    if options.crl:
        _load_verifying(context, "--tls-crl", options.crl, "crl", "lists of revoked certificates (CRL)")
        if context.cert_store_stats()["x509"]:  # the authorities come later: OpenSSL would take these for some
            raise UsageError(
                f"--tls-crl is {options.crl!r}, but must have no certificates, only lists of revoked ones (CRL): those "
                "of authorities are for --tls-client-ca"
            )
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if options.client_ca:
        _load_verifying(context, "--tls-client-ca", options.client_ca, "x509", "certificates")
    context.verify_mode = _AUTHENTICATION[options.client_auth]


def _load_verifying(context: TlsContext, option: str, path: str, kind: str, what: str) -> None:
    """Load a file by which clients' certificates are verified. OpenSSL takes authorities and lists of revoked
    certificates from any such file. `kind`: what must be among them, as `cert_store_stats` names it; `what`: the same
    in words. Raises UsageError.
    """
    _read(option, path)
    with suppress(ssl.SSLError, OSError):
        context.load_verify_locations(path)
        if context.cert_store_stats()[kind]:
            return
    raise UsageError(f"{option} is {path!r}, but must have {what} in PEM")
