"""The verb `certificate` of the command line: a certificate for development, signed by itself.

No browser trusts it until it is told to. One that browsers trust comes from an authority such as Let's Encrypt.
"""

from __future__ import annotations

import ipaddress
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from septet.errors import Failed, UsageError

_NAME = re.compile(r"(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.IGNORECASE)
_LOCAL = ("localhost", "127.0.0.1", "::1")


@click.command(
    epilog="""\b
Examples:
  septet certificate localhost
  septet serve shop.web:app --tls-certificate localhost.pem --tls-key localhost.key
  curl --cacert localhost.pem https://localhost:8000/
  septet certificate shop.test '*.shop.test' 192.0.2.7 --days 30""",
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="How long it is valid.")
@click.option("--force", is_flag=True, help="Replace files that are there already.")
def certificate(names: tuple[str, ...], days: int, force: bool) -> int:
    """Make a certificate for development, for these names and addresses, and its key.

    The certificate is signed by itself, so clients must be told to trust it. The files are called NAME.pem and NAME.key
    after the first name, with _ in place of * and of colons: '*.shop.test' makes _.shop.test.pem and _.shop.test.key.
    The name localhost includes the addresses 127.0.0.1 and ::1.
    """
    if "localhost" in names:
        names = (names[0], *(name for name in (*names, *_LOCAL) if name != names[0]))
    alternatives = [_alternative(name) for name in dict.fromkeys(names)]
    key = ec.generate_private_key(ec.SECP256R1())
    made = _signed(names[0], alternatives, key, days)
    stem = names[0].replace("*", "_").replace(":", "_")
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    _write(Path(f"{stem}.key"), key.private_bytes(pem, pkcs8, serialization.NoEncryption()), 0o600, force)
    _write(Path(f"{stem}.pem"), made.public_bytes(pem), 0o644, force)
    until = f"{made.not_valid_after_utc:%d %B %Y}"
    click.echo(f"{stem}.pem and {stem}.key are made, for {', '.join(dict.fromkeys(names))}, valid until {until}")
    click.echo(f"septet serve APP --tls-certificate {stem}.pem --tls-key {stem}.key")
    return 0


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not _NAME.fullmatch(name) or len(name) > 253:
        raise UsageError(
            f"NAME is {name!r}, but must be a host name (shop.test, *.shop.test) or an IP address"
        ) from None
    return x509.DNSName(name)


def _signed(
    name: str, alternatives: list[x509.GeneralName], key: ec.EllipticCurvePrivateKey, days: int
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)  # signatures, in handshakes
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # another machine's clock may be behind
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _write(path: Path, data: bytes, mode: int, force: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        descriptor = os.open(path, flags, mode)
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
    except FileExistsError:
        raise Failed(f"{path} is there already: --force replaces it") from None
    except OSError as error:
        raise Failed(f"cannot write {path}: {error.strerror}") from None
