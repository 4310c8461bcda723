"""The session: one client connection that speaks HTTP/1.1, without a socket, a clock or an application in it.

It implements `protocol.ServerProtocol` for the carrier, the part of a process model that owns the socket and moves the
bytes, and `exchange.Exchange` for the application that answers the current request. Read the files in this order:

    phases       where a connection stands, what may follow, and how long a client may take
    _output      what waits for the client, in order: bytes and parts of files
    _exchange    the current request, its body and its answer
    http1        the connection: from one request to the next, deadlines, the end

    tls          TLS around it: what comes in, the handshake, the end; _tls_output: what goes out, encrypted; _tls_info:
                 what was agreed on; _around: what is passed on unchanged

The class is `http1.Session`, made by inheritance (`OutputQueue`, `Http1Exchange`, `Session`) rather than of three
objects, because every request would pay for a call from one object to another.
"""
