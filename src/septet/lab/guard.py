"""Somebody who ends the server when we cannot: who is killed by KILL runs no `finally`.

A shell waits at a pipe of which we have the other end. However we end, the kernel closes that, and the shell kills the
server's process group. PR_SET_PDEATHSIG (prctl(2)) would do less: it is not inherited, so it reaches the server's first
process and no worker; it comes when the thread ends that started the server, not the process; and it must be set
between fork and exec, which is no place for Python.
"""

from __future__ import annotations

import subprocess

SCRIPT = 'read -r _; kill -s KILL -- "-$1"'


class Guard:
    """Guards one process group until it is dismissed, after the group has ended."""

    def __init__(self, group: int) -> None:
        # A session of its own: what ends us by way of our terminal or our group must not end the guard.
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", SCRIPT, "guard", str(group)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        with self._shell:  # closes the pipe and waits
            self._shell.kill()
