"""The fixture application, which no client reaches: each gets back what it sends. Not to be imported by a test."""

from septet.service import Service
from support import apps_asgi, apps_wsgi
from support.other_protocols import Echo

Service.accepted = lambda self, listener, sock, address: Echo()  # type: ignore[method-assign]

wsgi, asgi = apps_wsgi.app, apps_asgi.app
