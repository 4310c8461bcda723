"""Loads and checks the files that the options about TLS name: certificates, keys, passwords, authorities, lists of
revoked certificates. What is wrong with one of them is said in one sentence, which names the option and the file.

The standard library decodes a certificate only in a handshake. So each pair of certificate and key is tried in a
handshake with itself, in memory, which takes 2 ms. This gives the certificate's names, and shows that the key fits,
that the certificate is valid today, and that a server may use it.
"""

import os
import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from stat import S_ISREG
from typing import Any

from septet.errors import UsageError
from septet.net.validity import CERTIFICATE, Validity, of_revocation_lists

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


@dataclass(slots=True)
class Loaded:
    """What the files hold."""

    names: dict[str, TlsContext] = field(default_factory=dict)
    """The OpenSSL context for each host name that a certificate has."""
    contexts: list[TlsContext] = field(default_factory=list)
    """The OpenSSL context of each certificate, in the order of the options. The first one is the default."""
    validities: list[Validity] = field(default_factory=list)
    """For how long each certificate is valid, in the order of the options; then each list of revoked certificates."""
    nameless: list[str] = field(default_factory=list)
    """Files of certificates without the extension subjectAltName."""


def load(options: TlsOptions) -> Loaded:
    """Load all files. Raises UsageError."""
    loaded = Loaded()
    for pair in options.pairs:
        context = _context(options, pair)
        decoded = _decoded(context, pair)
        begins, ends = (float(ssl.cert_time_to_seconds(decoded[key])) for key in ("notBefore", "notAfter"))
        loaded.validities.append(Validity(CERTIFICATE, pair.certificate, begins, ends))
        for name in _names_of(decoded):
            loaded.names.setdefault(name, context)
        if not decoded.get("subjectAltName"):
            loaded.nameless.append(pair.certificate)
        _configure(context, options)
        loaded.contexts.append(context)
    if options.crl and options.client_auth != "none":
        loaded.validities += of_revocation_lists(options.crl, _read("--tls-crl", options.crl))
    return loaded


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
    """Return what a file holds. Raises UsageError also for one that is not a regular file, such as a named pipe:
    opening or reading it might block for ever, and OpenSSL could not read it a second time.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read()
    except OSError as error:
        raise UsageError(f"{option} is {path!r}, but must be a file that can be read: {error.strerror}") from None
    raise UsageError(f"{option} is {path!r}, but must be a regular file, because it is read more than once")


def _open_at_once(path: str, flags: int) -> int:
    """An opener for `open` that does not wait for a named pipe's other end, and takes no terminal (open(2))."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


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
