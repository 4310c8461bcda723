"""What applications are told about TLS: WSGI by the variables of Apache's mod_ssl, ASGI by its extension `tls`.

Both are made once for each `TlsInfo` and kept with it; connections that agreed on the same version, cipher and
certificates share one `TlsInfo`.
"""

from typing import Any

from septet.exchange import TlsInfo

_ATTRIBUTES = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
    "emailAddress": "emailAddress",
    "title": "T",
    "givenName": "G",
    "surname": "S",
    "initials": "I",
    "description": "D",
}
"""The short names, such as `CN`, of the attribute types in a certificate's names: those of RFC 4514 section 3, and
those that mod_ssl uses in addition.
"""

_SPECIAL = str.maketrans({character: "\\" + character for character in '"+,;<>\\'} | {"\0": "\\00"})

_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

Name = tuple[tuple[tuple[str, str], ...], ...]
"""A distinguished name as `ssl.SSLSocket.getpeercert` gives it."""


def environ(info: TlsInfo) -> dict[str, str]:
    """Return the variables for a WSGI environment, named as Apache's mod_ssl names them
    (https://httpd.apache.org/docs/2.4/mod/mod_ssl.html#envvars).
    """
    known: dict[str, str] | None = info.derived.get("wsgi")
    if known is None:
        known = info.derived["wsgi"] = _environ(info)
    return known


def _environ(info: TlsInfo) -> dict[str, str]:
    variables = {
        "HTTPS": "on",
        "SSL_PROTOCOL": info.version,
        "SSL_CIPHER": info.cipher,
        "SSL_CIPHER_USEKEYSIZE": str(info.bits),
        "SSL_SESSION_RESUMED": "Resumed" if info.resumed else "Initial",
        "SSL_CLIENT_VERIFY": "SUCCESS" if info.client_chain else "NONE",
    }
    if info.server_name:
        variables["SSL_TLS_SNI"] = info.server_name
    if info.client_chain:
        variables |= _of_client(info)
    return variables


def _of_client(info: TlsInfo) -> dict[str, str]:
    certificate = info.client_certificate
    variables = {
        "SSL_CLIENT_M_VERSION": str(certificate.get("version", "")),
        "SSL_CLIENT_M_SERIAL": certificate.get("serialNumber", ""),
        "SSL_CLIENT_V_START": certificate.get("notBefore", ""),
        "SSL_CLIENT_V_END": certificate.get("notAfter", ""),
        "SSL_CLIENT_CERT": info.client_chain[0],
    }
    variables |= {f"SSL_CLIENT_CERT_CHAIN_{index}": pem for index, pem in enumerate(info.client_chain[1:])}
    for prefix, key in (("SSL_CLIENT_S_DN", "subject"), ("SSL_CLIENT_I_DN", "issuer")):
        name = certificate.get(key, ())
        variables[prefix] = distinguished_name(name)
        for attribute, value in (part for several in name for part in several):
            short = _ATTRIBUTES.get(attribute, attribute)
            variables.setdefault(f"{prefix}_{'Email' if short == 'emailAddress' else short}", value)
    for kind, variable in (("email", "SSL_CLIENT_SAN_Email"), ("DNS", "SSL_CLIENT_SAN_DNS")):
        values = [value for found, value in certificate.get("subjectAltName", ()) if found == kind]
        variables |= {f"{variable}_{index}": value for index, value in enumerate(values)}
    return variables


def extension(info: TlsInfo) -> dict[str, Any]:
    """Return a new dictionary for `scope["extensions"]["tls"]` (https://asgi.readthedocs.io/en/latest/specs/tls.html)."""
    known: dict[str, Any] | None = info.derived.get("asgi")
    if known is None:
        known = info.derived["asgi"] = _extension(info)
    new = known.copy()
    new["client_cert_chain"] = list(info.client_chain)  # applications may change it
    return new


def _extension(info: TlsInfo) -> dict[str, Any]:
    return {
        "server_cert": info.server_certificate or None,
        "client_cert_chain": [],
        "client_cert_name": distinguished_name(info.client_certificate.get("subject", ())) or None,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(info.version),
        "cipher_suite": info.cipher_number or None,
    }


def distinguished_name(name: Name) -> str:
    """Return a certificate's name in the form of RFC 4514, which begins with the most specific part:
    `CN=Ada,O=Example,C=GB`.
    """
    parts = ["+".join(f"{_ATTRIBUTES.get(key, key)}={_escaped(value)}" for key, value in several) for several in name]
    return ",".join(reversed(parts))


def _escaped(value: str) -> str:
    """Return one value of a distinguished name with the escapes of RFC 4514, section 2.4."""
    escaped = value.translate(_SPECIAL)
    if value.startswith(("#", " ")):
        escaped = "\\" + escaped
    if value.endswith(" ") and len(value) > 1:
        escaped = escaped[:-1] + "\\ "
    return escaped
