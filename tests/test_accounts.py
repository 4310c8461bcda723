"""Users and groups: what the options name, and what is said of those that do not exist."""

import grp
import os
import pwd

import pytest

from septet.accounts import Identity, group_id, parse_umask, user_id
from septet.errors import UsageError
from septet.settings.checks import check
from septet.settings.config import Config

ROOT = pwd.getpwuid(0)
NOBODY = pwd.getpwnam("nobody")


def test_names_and_numbers() -> None:
    assert user_id("root") == user_id("0") == 0
    assert group_id("root") == group_id("0") == 0
    assert user_id("4294967294") == 4294967294


@pytest.mark.parametrize("text", ["", "no such user", "-1", "4294967295", "99999999999", "٧", "a\0b"])
def test_other_names(text: str) -> None:
    for look_up, kind in ((user_id, "user"), (group_id, "group")):
        with pytest.raises(ValueError, match=f"^must be the name of a {kind}, or a number"):
            look_up(text)


@pytest.mark.parametrize(("text", "mask"), [("027", 0o027), ("0", 0), ("0o22", 0o22), ("0777", 0o777), ("77", 0o77)])
def test_umask(text: str, mask: int) -> None:
    assert parse_umask(text) == mask


@pytest.mark.parametrize("text", ["", "8", "1000", "-7", "0x7", "u=rwx", "00000", " 7"])
def test_other_umask(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be an octal number from 000 to 777"):
        parse_umask(text)


def test_identity() -> None:
    assert Identity.of(None, None) is None
    nobody = Identity.of("nobody", None)
    assert nobody == Identity.of(str(NOBODY.pw_uid), None)
    assert nobody is not None
    assert (nobody.uid, nobody.gid) == (NOBODY.pw_uid, NOBODY.pw_gid)
    assert dict(nobody.variables) == {"HOME": NOBODY.pw_dir, "USER": "nobody", "LOGNAME": "nobody"}
    games = grp.getgrnam("games").gr_gid
    other = Identity.of("nobody", "games")
    assert other is not None
    assert (other.uid, other.gid) == (NOBODY.pw_uid, games)
    alone = Identity.of(None, "games")
    assert alone == Identity(os.geteuid(), games, (games,))


def test_user_with_several_groups() -> None:
    """All that the system gives it: a member of another group, if there is one here."""
    member = next(((name, each.gr_gid) for each in grp.getgrall() for name in each.gr_mem), None)
    if member is None:
        pytest.skip("no group has a member here")
    identity = Identity.of(member[0], None)
    assert identity is not None
    assert member[1] in identity.groups


def test_user_without_an_entry_needs_a_group() -> None:
    with pytest.raises(
        UsageError,
        match=r"^--user is '54321', but must go with --group, because this user has no entry in /etc/passwd$",
    ):
        check(Config(user="54321"))
    check(Config(user="54321", group="54321"))
