"""Drills: a server gets orders (reload, upgrade, kill, stop) under load, and every lost request is counted.

A request is lost if it gets no whole answer, or an answer with a status of 500 or more, or if its connection is refused
or reset. If the server closes an idle connection and the client can see that before it sends the next request, nothing
is lost: HTTP clients must be prepared for it (RFC 9112 section 9.5).
"""
