"""Sockets of a service manager, by their names (sd_listen_fds(3))."""

import os

import pytest

from septet.errors import UsageError
from septet.net.activation import with_numbers

NAMES = {"LISTEN_FDS": "4", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "web:metrics:web:a@1.socket"}


def test_name_means_all_sockets_of_that_name() -> None:
    binds = ("fd://web", "127.0.0.1:80", "fd://a@1.socket", "fd://9", "unix:fd://web")
    assert with_numbers(binds, NAMES) == ("fd://3", "fd://5", "127.0.0.1:80", "fd://6", "fd://9", "unix:fd://web")


@pytest.mark.parametrize(
    ("environ", "known"),
    [
        (NAMES, "which has web, metrics, a@1.socket"),
        ({**NAMES, "LISTEN_PID": "1"}, "which has no names: no service manager has handed sockets over"),
        ({}, "which has no names"),
    ],
    ids=["another", "for another process", "none"],
)
def test_other_name(environ: dict[str, str], known: str) -> None:
    with pytest.raises(UsageError, match=f"^--bind is 'fd://shop', but must be a name in LISTEN_FDNAMES, {known}"):
        with_numbers(("fd://shop",), environ)


def test_program_that_is_tried_has_its_parents_sockets() -> None:
    tried = {**NAMES, "LISTEN_PID": str(os.getppid())}
    with pytest.raises(UsageError):
        with_numbers(("fd://web",), tried)
    assert with_numbers(("fd://web",), {**tried, "_SEPTET_TRIAL": "5"}) == ("fd://3", "fd://5")
