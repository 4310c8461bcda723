"""The fixture applications, with a handler of the access log that raises at each line. Not to be imported by a test."""

import logging

from support import apps_asgi, apps_wsgi


class Raising(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise SystemExit("deliberate")


logging.getLogger("septet.access").addHandler(Raising())

wsgi, asgi = apps_wsgi.app, apps_asgi.app
