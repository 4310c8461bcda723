"""Scenarios of what clients and applications really do: heads that differ, posts, streams, connections that end, and
frameworks. `scenarios.py` begins with them.
"""

from apps import HELLO, LARGE_PART, PART, PARTS, REMARKS, page, received
from contenders import (
    Contender,
    bjoern,
    fastpysgi,
    granian,
    gunicorn,
    gunicorn_sync,
    hypercorn,
    septet,
    uvicorn,
    waitress,
)
from scenario import KIB, Budget, Scenario

EPOLL = septet("epoll")
ON_LOOP = septet("epoll", "--threads", "0")
THREADS = 8
POSTED = b"x" * KIB
"""As long as what wrk/post.lua sends."""


def peers(threads: int) -> tuple[Contender, ...]:
    """Servers that run a WSGI application in threads, with as many of them as Septet. granian also as it comes."""
    return gunicorn(threads), waitress(threads), granian("wsgi", threads), granian("wsgi")


WAYS = (EPOLL, septet("epoll", "--threads", str(THREADS)), ON_LOOP, septet("prethreaded", "--threads", str(THREADS)))
PEERS = peers(THREADS)
GTHREAD, _, GRANIAN, GRANIAN_AS_IT_COMES = (peer.name for peer in PEERS)
FRAMEWORK_GOALS = (
    Budget((GRANIAN, GRANIAN_AS_IT_COMES), 1.0, goal=True),
    Budget((GTHREAD,), 0.5, goal=True),
)
ASGI_PEERS = (uvicorn(), granian("asgi"))


HEADS = "Cookie and X-Request-Id different in each request"
BALANCED = "as behind a load balancer: query, Referer, Cookie, ids and X-Forwarded-For different in each request"

REAL_CLIENTS = (
    Scenario(
        "wsgi-varying",
        f"WSGI, hello world, {HEADS}",
        (*WAYS, bjoern(), fastpysgi(), *PEERS),
        (
            Budget((GRANIAN, GRANIAN_AS_IT_COMES), 1.0, goal=True, of=ON_LOOP.name),
            Budget(("fastpysgi",), 1.8, goal=True, of=ON_LOOP.name),
            Budget((ON_LOOP.name,), 1.2, goal=True),
        ),
        HELLO,
        app="apps:wsgi_hello",
        script="varying.lua",
    ),
    Scenario(
        "asgi-varying",
        f"ASGI, hello world, {HEADS}",
        (EPOLL, *ASGI_PEERS),
        (Budget(("uvicorn",), 0.6, goal=True), Budget(("granian",), 0.85, goal=True)),
        HELLO,
        app="apps:asgi_hello",
        script="varying.lua",
    ),
    Scenario(
        "wsgi-balanced",
        f"WSGI, hello world, {BALANCED}",
        (EPOLL, ON_LOOP, bjoern(), fastpysgi(), *PEERS),
        (Budget((GRANIAN, GRANIAN_AS_IT_COMES), 1.0, goal=True, of=ON_LOOP.name),),
        HELLO,
        app="apps:wsgi_hello",
        script="balanced.lua",
    ),
    Scenario(
        "asgi-balanced",
        f"ASGI, hello world, {BALANCED}",
        (EPOLL, *ASGI_PEERS),
        (Budget(("uvicorn",), 0.6, goal=True), Budget(("granian",), 0.85, goal=True)),
        HELLO,
        app="apps:asgi_hello",
        script="balanced.lua",
    ),
    Scenario(
        "wsgi-post",
        "WSGI, 1 KiB of JSON posted and read, head and body in one segment",
        (EPOLL, ON_LOOP, bjoern(), fastpysgi(), granian("wsgi")),
        (Budget(("bjoern",), 1.3, goal=True, of=ON_LOOP.name),),
        received(len(POSTED)),
        app="apps:wsgi_post",
        posted=POSTED,
        script="post.lua",
    ),
    Scenario(
        "wsgi-post-two",
        "WSGI, 1 KiB of JSON posted and read, head and body in two segments",
        (EPOLL, ON_LOOP, bjoern(), fastpysgi(), granian("wsgi")),
        (Budget(("bjoern",), 1.3, goal=True, of=ON_LOOP.name),),
        received(len(POSTED)),
        app="apps:wsgi_post",
        posted=POSTED,
        script="post_in_two.py",
    ),
    Scenario(
        "asgi-post",
        "ASGI, 1 KiB of JSON posted and read, head and body in one segment",
        (EPOLL, *ASGI_PEERS),
        (Budget(("uvicorn",), 0.6, goal=True),),
        received(len(POSTED)),
        app="apps:asgi_post",
        posted=POSTED,
        script="post.lua",
    ),
    Scenario(
        "wsgi-stream-kib",
        "WSGI, a stream of 10 parts of 1 KiB",
        (EPOLL, ON_LOOP, granian("wsgi"), bjoern()),
        (Budget(("granian",), 1.0, goal=True, of=ON_LOOP.name),),
        PARTS * LARGE_PART,
        app="apps:wsgi_stream_kib",
    ),
    Scenario(
        "wsgi-stream",
        "WSGI, a stream of 10 parts of 100 bytes",
        (EPOLL, ON_LOOP, granian("wsgi"), bjoern()),
        (Budget(("granian",), 1.0, goal=True, of=ON_LOOP.name),),
        PARTS * PART,
        app="apps:wsgi_stream",
    ),
    Scenario(
        "asgi-stream",
        "ASGI, a stream of 10 parts of 100 bytes",
        (EPOLL, *ASGI_PEERS),
        (Budget(("uvicorn",), 0.5, goal=True), Budget(("granian",), 0.8, goal=True)),
        PARTS * PART,
        app="apps:asgi_stream",
    ),
    Scenario(
        "wsgi-close",
        "WSGI, hello world, a connection per request",
        (EPOLL, ON_LOOP, bjoern(), fastpysgi(), granian("wsgi")),
        (Budget(("bjoern",), 1.25, goal=True, of=ON_LOOP.name),),
        HELLO,
        app="apps:wsgi_hello",
        script="close.lua",
    ),
    Scenario(
        "asgi-close",
        "ASGI, hello world, a connection per request",
        (EPOLL, *ASGI_PEERS),
        (Budget(("uvicorn",), 0.55, goal=True), Budget(("granian",), 1.0, goal=True)),
        HELLO,
        app="apps:asgi_hello",
        script="close.lua",
    ),
    Scenario(
        "wsgi-ten",
        "WSGI, hello world, ten requests a connection on average",
        (EPOLL, ON_LOOP, bjoern(), fastpysgi(), granian("wsgi")),
        (),
        HELLO,
        app="apps:wsgi_hello",
        script="tenth.lua",
    ),
    Scenario(
        "flask",
        f"Flask, a small page, {HEADS}",
        (*WAYS, bjoern(), *PEERS, gunicorn_sync()),
        FRAMEWORK_GOALS,
        page("Hello", "Ada").encode(),
        app="flask_app:app",
        packages=("flask",),
        path="/hello/Ada",
        script="varying.lua",
    ),
    Scenario(
        "django",
        f"Django, a page of one row from SQLite, {HEADS}",
        (*WAYS, bjoern(), *PEERS, gunicorn_sync()),
        FRAMEWORK_GOALS,
        page(*REMARKS[6]).encode(),
        app="django_site:app",
        packages=("django",),
        prepare="django_site.py",
        path="/remarks/7",
        script="varying.lua",
    ),
    Scenario(
        "fastapi",
        f"FastAPI, a model of pydantic as JSON, {HEADS}",
        (EPOLL, *ASGI_PEERS, hypercorn()),
        (Budget(("uvicorn",), 0.8, goal=True), Budget(("granian",), 1.0, goal=True)),
        b'{"title":"Hello","name":"Ada","number":7}',
        app="fastapi_app:app",
        packages=("fastapi",),
        path="/hello/Ada",
        script="varying.lua",
    ),
    Scenario(
        "starlette",
        f"Starlette, a small page, {HEADS}",
        (EPOLL, *ASGI_PEERS, hypercorn()),
        (Budget(("uvicorn",), 0.8, goal=True), Budget(("granian",), 1.0, goal=True)),
        page("Hello", "Ada").encode(),
        app="starlette_app:app",
        packages=("starlette",),
        path="/hello/Ada",
        script="varying.lua",
    ),
)
