"""Users and groups of the system: what `--user`, `--group`, `--umask` and the rights of a unix socket name, and how a
process that root has started becomes one of these users for good.

Names are looked up in the system's databases (passwd(5), group(5)), so an account that does not exist is refused before
anything is started. A number need not have an entry there: containers often run under one that has none.
"""

import grp
import os
import pwd
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

USER = "the name of a user, or a number"
GROUP = "the name of a group, or a number"
UMASK = "an octal number from 000 to 777, such as 027"

_MOST = 2**32 - 2
"""The largest number of a user or group that is accepted. 2**32 - 1 is not: chown(2) takes it for -1, "leave as it is".
"""
_CAP_SETGID, _CAP_SETUID = 6, 7  # capabilities(7)


def user_id(text: str) -> int:
    """Return the number of the user that `text` gives by name or by number. A name must be known on this machine, a
    number need not. Raises ValueError, whose message begins with "must be".
    """
    if _is_id(text):
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        raise ValueError(f"must be {USER} (there is no user of this name here)") from None


def group_id(text: str) -> int:
    """Return the number of the group that `text` gives by name or by number. A name must be known on this machine, a
    number need not. Raises ValueError, whose message begins with "must be".
    """
    if _is_id(text):
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        raise ValueError(f"must be {GROUP} (there is no group of this name here)") from None


def _is_id(text: str) -> bool:
    return bool(re.fullmatch("[0-9]{1,10}", text)) and int(text) <= _MOST


def parse_umask(text: str) -> int:
    """Return as a number the mask that the text of `--umask` gives in octal digits. Raises ValueError, whose message
    begins with "must be".
    """
    if not re.fullmatch("(0o)?[0-7]{1,4}", text) or int(text, 8) > 0o777:
        raise ValueError(f"must be {UMASK}")
    return int(text, 8)


@dataclass(frozen=True, slots=True)
class Identity:
    """The user and the groups that a process is to have, as numbers."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    """The numbers of all groups that the process is to have, the primary one (`gid`) included (getgroups(2))."""
    variables: tuple[tuple[str, str], ...] = ()
    """HOME, USER and LOGNAME of the user, as a login sets them; empty if the user has no entry in passwd(5)."""

    @classmethod
    def of(cls, user: str | None, group: str | None) -> "Identity | None":
        """Return the user and groups that `--user` and `--group` name; None if neither is given.

        A user comes with all its groups. `--group` takes the place of the user's primary group, as in nginx; alone, it
        leaves the user as it is and takes all other groups away. Raises ValueError, whose message begins with "must",
        for an unknown name, and for a user without an entry in passwd(5) if `--group` is not given, because the user's
        group is not known.
        """
        if user is None and group is None:
            return None
        gid = None if group is None else group_id(group)
        uid = os.geteuid() if user is None else user_id(user)
        entry = None
        with suppress(KeyError):
            entry = pwd.getpwuid(uid) if user is None or _is_id(user) else pwd.getpwnam(user)
        if entry is None or user is None:
            if gid is None:
                raise ValueError("must go with --group, because this user has no entry in /etc/passwd")
            return cls(uid, gid, (gid,))
        gid = entry.pw_gid if gid is None else gid
        groups = {*os.getgrouplist(entry.pw_name, gid), gid}
        variables = (("HOME", entry.pw_dir), ("USER", entry.pw_name), ("LOGNAME", entry.pw_name))
        return cls(uid, gid, tuple(sorted(groups)), variables)

    @property
    def is_ours(self) -> bool:
        """True if this process has this user and this group already, so that there is nothing to change."""
        return os.getresuid() == (self.uid,) * 3 and os.getresgid() == (self.gid,) * 3

    def why_not(self) -> str | None:
        """Return why this process cannot become this user, as a clause to follow "--user is 'ada', but"; None if it
        can.
        """
        if self.is_ours and os.geteuid() != 0:
            return None
        wanted = (1 << _CAP_SETGID) | (1 << _CAP_SETUID if self.uid != os.geteuid() else 0)
        if _capabilities() & wanted != wanted:
            return f"Septet runs as user {os.geteuid()}, which may not change users: start it as root, or leave it out"
        return None

    def assume(self) -> None:
        """Give this process this user and these groups, for good: the groups first, since without root's rights they
        cannot be changed. Sets the user's HOME, USER and LOGNAME. Raises OSError.

        All three ids are set, the saved ones included, so there is no way back.
        """
        os.environ.update(self.variables)
        if self.is_ours and os.geteuid() != 0:
            return
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)


def _capabilities() -> int:
    """Return the effective capabilities of this process, as a bit mask (capabilities(7), CapEff in proc(5))."""
    try:
        found = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:  # there is no /proc: root has them all
        return -1 if os.geteuid() == 0 else 0
    return int(found[1], 16) if found else 0
