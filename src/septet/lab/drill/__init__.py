"""Drills: a server gets orders while users load it, and each request that is lost is counted.

A request is lost if it gets no whole answer, or an answer from 500 on, or if its connection is refused or reset. A kept
connection that the server has closed while it was idle is no loss if the client can see that before it sends: clients
of HTTP have to be prepared for it (RFC 9112 section 9.5).
"""
