"""For how long certificates and lists of revoked certificates (CRL) are valid, and the warnings before that is over.

The standard library reads the dates of a certificate, but not those of a list. Lists are encoded in DER (X.690), in
which each element begins with its tag and its length, so two dates are found by going from element to element:

    CertificateList      SEQUENCE of tbsCertList, signatureAlgorithm, signatureValue         (RFC 5280, section 5.1)
      tbsCertList        SEQUENCE of version OPTIONAL, signature, issuer, thisUpdate, nextUpdate OPTIONAL, ...
"""

import base64
import logging
import re
from calendar import timegm
from collections.abc import Iterator
from dataclasses import dataclass
from time import gmtime, strftime, strptime

log = logging.getLogger("septet")

CERTIFICATE, REVOCATION_LIST = "certificate", "list of revoked certificates"

WARN_S = 14 * 86400
"""Seconds before its end from which on a warning is logged: two weeks, or, if that comes later, a quarter of the whole
time. Clients of ACME renew when a third is left (30 of 90 days, 15 of 45), so then a renewal has failed.
"""
WARN_FRACTION = 4

_LIST = re.compile(rb"-----BEGIN X509 CRL-----(.*?)-----END X509 CRL-----", re.DOTALL)
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
"""Tags of the two forms of a date in DER: YYMMDDHHMMSSZ and YYYYMMDDHHMMSSZ."""


@dataclass(frozen=True, slots=True)
class Validity:
    """For how long something is valid. `what`: CERTIFICATE or REVOCATION_LIST. `begins`, `ends`: seconds since 1970."""

    what: str
    path: str
    begins: float
    ends: float

    def ends_soon(self, now: float) -> bool:
        """True if a warning is due at `now`: the end is near, or has passed."""
        return self.ends - now < min(WARN_S, (self.ends - self.begins) / WARN_FRACTION)

    def warn(self, now: float) -> None:
        """Log that it ends soon, or has ended."""
        left_s = self.ends - now
        when = f"at {strftime('%Y-%m-%d %H:%M', gmtime(self.ends))} UTC"
        state = f"has expired, {when}" if left_s <= 0 else f"expires in {_in_words(left_s)}, {when}"
        if self.what == CERTIFICATE:
            then = "clients refuse it" if left_s <= 0 else "it should have been renewed by now"
            log.warning("SEP172 the certificate %s %s: %s", self.path, state, then)
        else:
            then = "no client with a certificate of its authority is accepted" if left_s <= 0 else "fetch a newer one"
            log.warning("SEP173 the list of revoked certificates %s %s: %s", self.path, state, then)


def _in_words(seconds: float) -> str:
    unit, count = ("day", seconds // 86400) if seconds >= 86400 else ("hour", seconds // 3600)
    return f"{count:.0f} {unit}{'' if count == 1 else 's'}"


def of_revocation_lists(path: str, text: bytes) -> Iterator[Validity]:
    """Yield for how long each list of revoked certificates in `text`, the content of the PEM file `path`, is valid. A
    list that does not say when the next one comes is left out, as is one that cannot be read: OpenSSL judges that.
    """
    for encoded in _LIST.findall(text):
        try:
            begins, ends = _dates(base64.b64decode(encoded))
        except (ValueError, IndexError, StopIteration):
            continue
        yield Validity(REVOCATION_LIST, path, begins, ends)


def _dates(der: bytes) -> tuple[float, float]:
    """Return thisUpdate and nextUpdate of a list of revoked certificates, in seconds since 1970. Raises ValueError,
    IndexError or StopIteration if they are not where they should be.
    """
    _, whole = next(_elements(der))
    _, to_be_signed = next(_elements(whole))
    found: list[float] = []
    for tag, content in _elements(to_be_signed):
        if tag in (_UTC_TIME, _GENERALIZED_TIME):
            found.append(_seconds(tag, content.decode("ascii")))
        if len(found) == 2 or (found and tag not in (_UTC_TIME, _GENERALIZED_TIME)):
            break
    begins, ends = found
    return begins, ends


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the content of each element of `der` (X.690, section 8.1). Raises IndexError."""
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:  # the long form: so many bytes of length follow
            size = length & 0x7F
            length = int.from_bytes(der[at : at + size], "big")
            at += size
        yield tag, der[at : at + length]
        at += length


def _seconds(tag: int, text: str) -> float:
    """Return a date of DER in seconds since 1970. UTCTime means the years 1950 to 2049 (RFC 5280, section 4.1.2.5.1).
    Raises ValueError.
    """
    if tag == _UTC_TIME:
        text = ("20" if text[:2] < "50" else "19") + text
    return float(timegm(strptime(text, "%Y%m%d%H%M%SZ")))
