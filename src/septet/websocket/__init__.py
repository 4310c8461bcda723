"""WebSocket (RFC 6455) without I/O: the opening handshake, and the messages of one connection.

The library `websockets` (extra `septet[websocket]`) reads and writes frames, and implements the extension
permessage-deflate (RFC 7692). This package adds limits on what a client can make the server keep. `session.websocket`
uses it when a connection changes from HTTP/1.1 to WebSocket.
"""
