"""HTTP/2 (RFC 9113) without I/O and without a clock, over the library `h2`, which does frames, states and HPACK.

connection   one client's bytes in, events of `h2` out; heads, content and control frames of ours in, bytes out
requests     the fields of a request, checked, as `exchange.Request`
answers      the head of an answer as the fields of HTTP/2, and the count of its content against Content-Length
priority     the urgency of a request (RFC 9218)
budget       how much a client may ask for that is of no use: resets, pings, settings and the like
"""
