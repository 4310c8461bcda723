"""A WSGI application that gives jobs to a ProcessPoolExecutor, and answers before they are done."""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from support import journal

FORK = multiprocessing.get_context("fork")
processes = ProcessPoolExecutor(2, mp_context=FORK)
threads = ThreadPoolExecutor(1)


def _job() -> None:
    journal.write(f"process {os.getpid()}")
    journal.pass_gate("job")
    journal.write("done")


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    path = environ["PATH_INFO"]
    if path == "/job":
        processes.submit(_job)
    if path == "/idle":  # a thread is cut, and the executor of processes has nothing to do
        processes.submit(os.getpid).result()
        threads.submit(time.sleep, 60)
    if path == "/daemon":
        FORK.Process(target=time.sleep, args=(60,), daemon=True).start()
    start_response("200 OK", [("Content-Length", "4")])
    return [b"fine"]
