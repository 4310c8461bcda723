"""The fixture applications in a process where sockets have a time-out, as many set it for their own.

Not to be imported by a test, whose own sockets would have it.
"""

import socket

from support import apps_asgi, apps_wsgi

#: s; less than the clients of a test wait for their answers.
TIMEOUT_S = 2.0

socket.setdefaulttimeout(TIMEOUT_S)

wsgi, asgi = apps_wsgi.app, apps_asgi.app
