"""A WSGI application whose answer is how many requests it has had, and that takes a millisecond for each."""

import itertools
import time

requests = itertools.count(1)


def app(environ, start_response):
    time.sleep(0.001)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % next(requests)]
