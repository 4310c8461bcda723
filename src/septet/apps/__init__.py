"""Application interfaces: one module, one interface.

An application that is *called* (WSGI, static files) is made into a function from an exchange to a `Response`; its
turn is over when that returns, and parts of the answer are pulled from it. One that *calls* (ASGI) is made into a
coroutine for each exchange. None of them knows what model it runs under: `exchange.Exchange` is all they see.
"""
