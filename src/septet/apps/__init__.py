"""Application interfaces: WSGI, ASGI and static files, each in a module or package of its own.

A *called* application (WSGI, static files) becomes a function from an exchange to a `Response`: it returns the head and
the first part of the answer, and the model pulls the other parts. An *awaited* application (ASGI) becomes a coroutine
for each exchange. No interface knows the process model: it sees an `exchange.Exchange` and nothing else of the server.

    loading       finds an application by module:attribute, and detects its interface
    at_import     log messages about what an application has made at import, and workers share or lack
    site          finds the application or directory that answers a path
    mounted       applications whose paths have a prefix: `--mount`, `--root-path`
    wsgi          WSGI (PEP 3333); _call: one call of the application
    asgi          ASGI 3; _channel: receive and send; _messages: checks messages; _lifespan: start and end
    noted         WSGI and ASGI applications that note in the exchange when they were called
    static/       files of a directory
    _files        open files that are part of an answer
    _tls          what applications are told about TLS
    _diagnostics  log messages about applications that raise
"""
