"""The listening sockets of a supervisor, which outlive the processes that accept from them.

The processes that serve inherit the sockets by fork(2); if the supervisor executes another program in its
place, that program keeps them through execve(2). A client that connects while processes are replaced waits in
the queue of the same socket, so none is refused.
"""

import logging
import os
import socket
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from itertools import repeat
from typing import Any

from septet.errors import Failed
from septet.net.address import Address, parse_address
from septet.net.listener import Listener, open_listeners

log = logging.getLogger("septet")

_Key = tuple[str, int]
"""Identifies a listener: the text of its `--bind`, without the rights of a unix socket's file, and how many
values of `--bind` before it have the same text (`127.0.0.1:0` may be given more than once).
"""


class ListenerSet:
    """The open listeners, found by the text of their `--bind`. Used only by the process that has opened them, the
    supervisor.
    """

    def __init__(self) -> None:
        self._open: dict[_Key, Listener] = {}
        self._lost: list[Listener] = []
        """Listeners in whose place `open` has opened others, because the files of their sockets were removed. They are
        closed with those that the latest configuration does not name.
        """

    def open(
        self, binds: Iterable[str], backlog: int, options: Iterable[str] = repeat("--bind")
    ) -> tuple[Listener, ...]:
        """Return listeners for these addresses: open ones are used again, missing ones are opened, and so are those of
        unix sockets whose files somebody has removed. `options`: the option that names each address, for error
        messages. Raises Failed; then no new listener stays open.
        """
        binds = list(binds)
        keys = _keys(binds)
        addresses = dict(zip(keys, map(parse_address, binds), strict=True))
        missing = {key: option for key, option in zip(keys, options, strict=False) if key not in self._open}
        for key in keys:  # what may have changed since they were opened
            if key in self._open and self._open[key].inherited < 0:
                self._open[key].sock.listen(backlog)
                self._open[key].give_rights(addresses[key])
        opened = open_listeners([addresses[key] for key in missing], backlog, options=missing.values())
        for key in keys:
            if key in self._open and self._open[key].has_lost_its_file():
                self._replace(key, addresses[key], backlog)
        self._open |= dict(zip(missing, opened, strict=True))
        return tuple(self._open[key] for key in keys)

    def _replace(self, key: _Key, address: Address, backlog: int) -> None:
        """Open a unix socket anew whose file somebody has removed, and to which no client can connect for that. If
        another program listens at its path by now, the old one stays, and the log says so.
        """
        try:
            (opened,) = open_listeners([address], backlog)
        except Failed as error:
            log.warning("the file of %s was removed, and is not made anew: %s", address, error)
            return
        self._lost.append(self._open[key])
        self._open[key] = opened

    def close_others(self, wanted: Iterable[Listener]) -> None:
        """Close all listeners except `wanted`, which are those that the latest configuration names."""
        kept = set(wanted)
        for key, listener in list(self._open.items()):
            if listener not in kept:
                listener.close()
                del self._open[key]
        for listener in [listener for listener in self._lost if listener not in kept]:
            listener.close()
            self._lost.remove(listener)

    def shut(self) -> None:
        """Close all listeners. Clients are refused once the serving processes have closed their copies as well."""
        for listener in (*self._open.values(), *self._lost):
            listener.shut()

    # For a successor by execve(2), in the same process

    def hand_over(self) -> list[dict[str, Any]]:
        """Return what `adopt` needs to know, as values for JSON. The descriptors will stay open when this process
        executes another program in its place (execve(2)), which calls `adopt`.
        """
        handed = []
        for (text, repeated), listener in self._open.items():
            ours = listener.inherited < 0  # else the successor finds it where we have found it
            os.set_inheritable(listener.fileno() if ours else listener.inherited, True)
            if listener.file >= 0:
                os.set_inheritable(listener.file, True)
            handed.append(
                {
                    "bind": text,
                    "repeated": repeated,
                    "descriptor": listener.fileno() if ours else -1,
                    "file": listener.file,
                }
            )
        return handed

    def keep(self) -> None:
        """Undo `hand_over` after execve(2) has failed: programs that are started later do not inherit the sockets."""
        for listener in self._open.values():
            for descriptor in (listener.fileno(), listener.inherited, listener.file):
                if descriptor >= 0:
                    os.set_inheritable(descriptor, False)

    def adopt(self, handed: Iterable[dict[str, Any]]) -> tuple[Listener, ...]:
        """Take over the listeners that the program which this process executed before has described with `hand_over`,
        and return them. Those that cannot be used are left out; `open` makes them anew.
        """
        for each in handed:
            if each["descriptor"] < 0:
                continue
            with suppress(OSError):
                os.set_inheritable(each["descriptor"], False)
                file = each.get("file", -1)  # else another program's file might lie at the path by now
                if file >= 0:
                    os.set_inheritable(file, False)
                sock = socket.socket(fileno=each["descriptor"])
                self._open[each["bind"], each["repeated"]] = Listener(sock, ours=True, file=file)
        return tuple(self._open.values())


def _keys(binds: Iterable[str]) -> list[_Key]:
    seen: Counter[str] = Counter()
    keys = []
    for bind in binds:
        text = bind.partition("?")[0] if bind.startswith("unix:") else bind
        keys.append((text, seen[text]))
        seen[text] += 1
    return keys
