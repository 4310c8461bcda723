"""A WSGI application in a module that kills every worker process at its birth, and journals each birth.

It does so whether the server loads the application before it forks (the fork handler) or after (the parent of the
process that imports is then not the test's process, which CONTRACT_PARENT names).
"""

import os

from support import journal
from support.apps_wsgi import app as app


def _die() -> None:
    journal.write("born")
    os._exit(3)


if os.getppid() == int(os.environ["CONTRACT_PARENT"]):
    os.register_at_fork(after_in_child=_die)
else:
    _die()
