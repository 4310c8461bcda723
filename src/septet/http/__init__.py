"""HTTP/1.1 without I/O: bytes in, requests out; answers in, bytes out (RFC 9110, RFC 9112).

Nothing in this package opens, reads, writes or waits, and nothing reads a clock, so all of it can be tested with plain
values. From the ground up:

    grammar        which bytes may stand where in a message
    cache          a bounded cache, for heads and field lines that come again
    sections       header sections of requests: bytes -> fields and framing
    request_head   request lines and whole heads: bytes -> Request
    unfinished     lines that have not all come: refuse what can no longer become valid
    body           one request body: Content-Length or chunked -> bytes
    head           an answer's head: status and fields -> ResponseHead, checked
    incoming       what comes from one client: many requests, in order
    codec          one connection: `incoming`, and answers -> bytes
"""
