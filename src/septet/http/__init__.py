"""HTTP/1.1 without I/O: bytes in, requests out; answers in, bytes out (RFC 9110, RFC 9112).

Nothing in this package opens, reads, writes or waits, and nothing reads a clock, so all of it can be
tested with plain values. From the ground up:

    grammar      which bytes may stand where
    events       Request, ResponseHead, FileRegion: what passes between the layers
    head         one head: bytes -> Request, status and fields -> ResponseHead
    body         one request body: Content-Length or chunked -> bytes
    states       the phases of a connection, as a table
    connection   one client connection: many requests, in order
"""
