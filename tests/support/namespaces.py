"""Hosts on one machine: network namespaces (network_namespaces(7)), each with a cable of its own to ours (veth(4))."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

# For benchmarks between network devices, and so on no real network (RFC 2544, RFC 6890).
_NETWORK = f"198.18.{os.getpid() % 256}"


@dataclass(frozen=True)
class Host:
    """A namespace with the loopback and one more address."""

    name: str
    address: str
    gateway: str  # our end of the cable

    def command(self, *words: str) -> list[str]:
        """What runs `words` there."""
        return ["ip", "netns", "exec", self.name, *words]


@contextmanager
def hosts(number: int) -> Iterator[list[Host]]:
    """So many hosts, each of which reaches all our addresses. Skips the test where that is not allowed."""
    if shutil.which("ip") is None:
        pytest.skip("there is no ip(8) to make network namespaces with")
    with ExitStack() as stack:
        yield [stack.enter_context(_host(index)) for index in range(number)]


@contextmanager
def _host(index: int) -> Iterator[Host]:
    name = f"septet-{os.getpid()}-{index}"
    ours, theirs = f"s{os.getpid()}-{index}", f"t{os.getpid()}-{index}"  # names of at most 15 letters
    host = Host(name, f"{_NETWORK}.{4 * index + 2}", f"{_NETWORK}.{4 * index + 1}")
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not permitted here: {error.stderr.strip()}")
    try:
        _ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        _ip("address", "add", f"{host.gateway}/30", "dev", ours)
        _ip("link", "set", ours, "up")
        _ip("-netns", name, "address", "add", f"{host.address}/30", "dev", theirs)
        for device in ("lo", theirs):
            _ip("-netns", name, "link", "set", device, "up")
        _ip("-netns", name, "route", "add", "default", "via", host.gateway)
        yield host
    finally:
        # The namespace itself lives until its last socket has gone; the cable would, too.
        subprocess.run(["ip", "link", "delete", ours], check=False, capture_output=True)
        _ip("netns", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
