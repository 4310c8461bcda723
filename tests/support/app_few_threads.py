"""The fixture applications in a process that may have four threads in all, or FEW_THREADS. Not to be imported by a
test."""

import os
import resource

from support.app_without_privileges import asgi, wsgi

LIMIT = int(os.environ.get("FEW_THREADS", "4"))

resource.setrlimit(resource.RLIMIT_NPROC, (LIMIT, LIMIT))

__all__ = ["asgi", "wsgi"]
