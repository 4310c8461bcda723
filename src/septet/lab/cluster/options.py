"""What `septet bench` is told of the places that its load comes from, beside `--cluster` itself."""

from __future__ import annotations

import ipaddress

from septet.errors import UsageError
from septet.lab.cluster.places import Places
from septet.lab.pinning import Pinning, pinning


def host(text: str) -> str:
    """What --host says: an address of this machine, and not all of them, for it stands in the URL, too."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise UsageError(f"--host: {text!r} is no IP address") from None
    if address.is_unspecified:
        raise UsageError(f"--host: {text} cannot be loaded: name one of this machine's addresses")
    return str(address)


def pinned(places: str | None, cpus: tuple[int, ...], pin: bool) -> Pinning:
    """Which CPUs are the server's and which the users'; the latter may be of other machines."""
    if cpus and places is None:
        raise UsageError("--cpus: without --cluster, --pin does it")
    if places is not None and not Places.read(places).local:
        return Pinning(client=cpus)
    ours = pinning() if pin else Pinning()
    return ours._replace(client=cpus) if cpus else ours
