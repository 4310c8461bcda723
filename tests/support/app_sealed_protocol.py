"""The fixture applications for clients who speak HTTP/1.1 in a cipher. Not to be imported by a test."""

from septet.service import Service
from support import apps_asgi, apps_wsgi
from support.other_protocols import Sealed

_accepted = Service.accepted

Service.accepted = lambda *where: Sealed(_accepted(*where))  # type: ignore[arg-type, assignment, return-value, method-assign]

wsgi, asgi = apps_wsgi.app, apps_asgi.app
