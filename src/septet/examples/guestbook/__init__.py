"""The guestbook: a page with a visit counter and the latest remarks, and a form to leave one.

It is the application that Septet is measured with by default, so it does what applications do: it reads a
form, writes to a store that all processes share, renders a page and serves a few files. It exists twice,
as `wsgi` and as `asgi`; `wsgi_app` and `asgi_app` hold only what differs. A request goes

    wsgi_app or asgi_app -> site (what is asked for?) -> a store, form, page or files -> wsgi_app or asgi_app

and the store is chosen by the variable GUESTBOOK_STORE, see `store`.
"""

from septet.examples.guestbook.asgi_app import application as asgi
from septet.examples.guestbook.wsgi_app import application as wsgi

__all__ = ["asgi", "wsgi"]
