"""A WSGI application that answers with what HUP and USR1 do in a child that it forks, and in one that it executes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

NUMBERS = (signal.SIGHUP, signal.SIGUSR1)
PROGRAM = "import signal; print(*(signal.getsignal(number).name for number in (signal.SIGHUP, signal.SIGUSR1)))"


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, " ".join(str(getattr(signal.getsignal(n), "name", "ours")) for n in NUMBERS).encode())
        os._exit(0)
    os.waitpid(child, 0)
    forked = os.read(reading, 100)
    os.close(reading)
    os.close(writing)
    executed = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, check=True).stdout.strip()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [forked + b", " + executed]
