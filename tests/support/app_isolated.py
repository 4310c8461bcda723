"""An application that tells what its interpreter is and allows; under the model `interpreters` each has its own."""

import importlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support import journal

if module := os.environ.get("ISOLATED_IMPORTS"):
    importlib.import_module(module)

if os.environ.get("ISOLATED_SECOND_WAITS"):
    journal.write("imported")
    if journal.Journal(Path(os.environ[journal.VARIABLE])).count("imported") > 1:
        journal.pass_gate("import")

calls = 0


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    global calls
    calls += 1
    route = environ["PATH_INFO"]
    if route == "/wait":
        journal.write("entered")
        journal.pass_gate("isolated")
    told = {
        "calls": calls,
        "multithread": environ["wsgi.multithread"],
        "multiprocess": environ["wsgi.multiprocess"],
        **({"allowed": _allowed()} if route == "/allowed" else {}),
    }
    body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def _allowed() -> dict[str, str]:
    thread = threading.Thread(target=lambda: None, daemon=True)
    tried: dict[str, Callable[[], object]] = {
        "fork": os.fork,
        "signal": lambda: signal.signal(signal.SIGUSR2, signal.SIG_DFL),
        "thread": thread.start,
        "program": lambda: subprocess.run(["true"], check=True),
    }
    return {name: _outcome(call) for name, call in tried.items()}


def _outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return "done"
