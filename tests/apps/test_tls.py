"""What applications are told of TLS: the names of a client's certificate, by mod_ssl and by RFC 4514."""

from typing import Any

import pytest

from septet.apps._tls import Name, distinguished_name, environ, extension
from septet.exchange import TlsInfo

ADA: dict[str, Any] = {
    "subject": (
        (("countryName", "GB"),),
        (("organizationName", "Analytical, Inc."),),
        (("organizationalUnitName", "Engines"),),
        (("organizationalUnitName", "Notes"),),
        (("commonName", "Ada"), ("emailAddress", "ada@example.test")),
    ),
    "issuer": ((("commonName", "An authority"),),),
    "version": 3,
    "serialNumber": "0A1B",
    "notBefore": "Jan  1 00:00:00 2026 GMT",
    "notAfter": "Jan  1 00:00:00 2027 GMT",
    "subjectAltName": (("DNS", "a.test"), ("email", "ada@example.test"), ("DNS", "b.test")),
}


def info(**values: Any) -> TlsInfo:
    return TlsInfo("TLSv1.3", "TLS_AES_128_GCM_SHA256", 0x1301, 128, "a.test", "PEM", False, **values)


def test_without_a_certificate() -> None:
    assert environ(info()) == {
        "HTTPS": "on",
        "SSL_PROTOCOL": "TLSv1.3",
        "SSL_CIPHER": "TLS_AES_128_GCM_SHA256",
        "SSL_CIPHER_USEKEYSIZE": "128",
        "SSL_SESSION_RESUMED": "Initial",
        "SSL_CLIENT_VERIFY": "NONE",
        "SSL_TLS_SNI": "a.test",
    }
    assert extension(info()) == {
        "server_cert": "PEM",
        "client_cert_chain": [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": 0x0304,
        "cipher_suite": 0x1301,
    }


def test_with_a_certificate() -> None:
    client = info(client_chain=("leaf", "above"), client_certificate=ADA)
    variables = environ(client)
    assert {name.removeprefix("SSL_CLIENT_"): value for name, value in variables.items() if "CLIENT" in name} == {
        "VERIFY": "SUCCESS",
        "M_VERSION": "3",
        "M_SERIAL": "0A1B",
        "V_START": "Jan  1 00:00:00 2026 GMT",
        "V_END": "Jan  1 00:00:00 2027 GMT",
        "CERT": "leaf",
        "CERT_CHAIN_0": "above",
        "S_DN": r"CN=Ada+emailAddress=ada@example.test,OU=Notes,OU=Engines,O=Analytical\, Inc.,C=GB",
        "S_DN_C": "GB",
        "S_DN_O": "Analytical, Inc.",
        "S_DN_OU": "Engines",
        "S_DN_CN": "Ada",
        "S_DN_Email": "ada@example.test",
        "I_DN": "CN=An authority",
        "I_DN_CN": "An authority",
        "SAN_Email_0": "ada@example.test",
        "SAN_DNS_0": "a.test",
        "SAN_DNS_1": "b.test",
    }
    told = extension(client)
    assert told["client_cert_chain"] == ["leaf", "above"]
    assert told["client_cert_name"] == variables["SSL_CLIENT_S_DN"]


def test_what_an_application_changes_is_its_own() -> None:
    shared = info()
    extension(shared)["client_cert_chain"].append("forged")
    assert extension(shared)["client_cert_chain"] == []


@pytest.mark.parametrize(
    ("value", "written"),
    [("#1", r"\#1"), (" a ", r"\ a\ "), ('a"b\\', r"a\"b\\"), ("a\0b", r"a\00b"), ("a;b<c>d+e", r"a\;b\<c\>d\+e")],
)
def test_special_characters(value: str, written: str) -> None:
    name: Name = ((("commonName", value),),)
    assert distinguished_name(name) == f"CN={written}"
