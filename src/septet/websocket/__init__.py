"""WebSocket (RFC 6455) without I/O: the opening handshake, and messages in and out of one connection.

The frames are the library `websockets`' own (the extra `septet[websocket]`), and so is the extension permessage-deflate
(RFC 7692). What is here bounds what a client may make the server keep. `session.websocket` puts a tunnel into the place
of HTTP/1.1 on a connection.
"""
