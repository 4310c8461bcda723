"""Makes `exchange.TlsInfo`, which says what a TLS handshake agreed on. For `session.tls`."""

import ssl
from typing import Any

from septet.exchange import TlsInfo
from septet.http.cache import BoundedCache

_infos: BoundedCache[tuple[Any, ...], TlsInfo] = BoundedCache(256)
"""Cache for `info_of`, for clients without a certificate: many connections agree on the same few combinations of
version, cipher and server name.
"""


def info_of(tls: ssl.SSLObject) -> TlsInfo:
    """Return what was agreed on in a TLS handshake that has just ended."""
    name, _, bits = tls.cipher() or ("", "", 0)
    server_name: str | None = getattr(tls, "server_name", None)
    resumed = bool(tls.session_reused)
    certificate = tls.getpeercert(True)
    key = tls.context, tls.version(), name, server_name, resumed
    known = None if certificate else _infos.get(key)
    if known is not None:
        return known
    info = TlsInfo(
        version=tls.version() or "",
        cipher=name,
        cipher_number=_numbers(tls.context).get(name, 0),
        bits=bits,
        server_name=server_name,
        server_certificate=getattr(tls.context, "certificate", ""),
        resumed=resumed,
        client_chain=tuple(map(ssl.DER_cert_to_PEM_cert, _chain(tls, certificate))) if certificate else (),
        client_certificate=dict(tls.getpeercert() or {}) if certificate else {},
    )
    if certificate is None:
        _infos.add(key, info)
    return info


def _numbers(context: ssl.SSLContext) -> dict[str, int]:
    return {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}


def _chain(tls: ssl.SSLObject, certificate: bytes) -> list[bytes]:
    """Return the certificates that the client has sent, its own first. Before Python 3.13 only its own is available."""
    chain = getattr(tls, "get_unverified_chain", None)
    return list(chain()) if chain else [certificate]
