"""Loading an application from `module:attribute`, and detecting its interface."""

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from septet.apps.loading import check_callable, interface, load
from septet.errors import Failed, UsageError

SOURCE = """
def app(environ, start_response): ...
class box:
    inner = app
number = 5
def make(): return app
def make_nothing(): return None
def make_late(argument): return app
def make_broken(): raise KeyError("the cause")
class Own(BaseException): pass
def make_ended(): raise Own("the cause")
class Unspeakable(Exception):
    def __str__(self): raise SystemExit("deliberate")
def make_unspeakable(): raise Unspeakable
"""


@pytest.fixture
def app_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A directory with the module `fixture_app`, and some that cannot be imported."""
    for name, source in {
        "fixture_app.py": SOURCE,
        "fixture_broken.py": "1 / 0",
        "fixture_syntax.py": "def",
        "fixture_ended.py": "raise GeneratorExit",
        "fixture_needs.py": "import fixture_that_is_not_there",
        "fixture_package/__init__.py": "",
        "fixture_package/part.py": SOURCE,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield str(tmp_path)
    for name in [name for name in sys.modules if name.startswith("fixture_")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["fixture_app:app", "fixture_app:box.inner", "fixture_package.part:app"])
def test_application_is_found(app_dir: str, name: str) -> None:
    assert load(name, app_dir, False).__name__ == "app"


def test_factory_is_called(app_dir: str) -> None:
    assert load("fixture_app:make", app_dir, True).__name__ == "app"


def test_patched_standard_library(app_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What gevent.monkey.patch_all does, among much else: the server could not even wait for a signal."""
    monkeypatch.delattr("select.epoll")
    with pytest.raises(Failed, match="'fixture_app:app' replaces the threads and sockets") as caught:
        load("fixture_app:app", app_dir, False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "factory", "sentence"),
    [
        ("fixture_none:app", False, "no module 'fixture_none'"),
        ("fixture_package.none:app", False, "no module 'fixture_package.none'"),
        ("fixture_app:none", False, "no attribute 'none'; it has app"),
        ("fixture_app:box.none", False, "no attribute 'box.none'"),
        ("fixture_app", False, "no attribute ''"),
        ("fixture_app:number", False, "int; an application is callable"),
        ("fixture_app:make_nothing", True, "NoneType; an application is callable"),
    ],
)
def test_wrong_name(app_dir: str, name: str, factory: bool, sentence: str) -> None:
    """A mistake of the user: one sentence that names the wrong part."""
    with pytest.raises(UsageError, match=sentence) as caught:
        load(name, app_dir, factory)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "factory", "sentence"),
    [
        ("fixture_broken:app", False, "ZeroDivisionError: division by zero"),
        ("fixture_syntax:app", False, "SyntaxError"),
        ("fixture_ended:app", False, "GeneratorExit"),
        ("fixture_app:make_ended", True, "Own: the cause"),
        ("fixture_app:make_unspeakable", True, "an exception that cannot be shown"),
        ("fixture_needs:app", False, "fixture_that_is_not_there"),
        ("fixture_app:make_broken", True, "KeyError: 'the cause'"),
        ("fixture_app:make_late", True, "TypeError: .*argument"),
    ],
)
def test_application_that_fails(app_dir: str, name: str, factory: bool, sentence: str) -> None:
    """An exception in the application's code: one sentence, with the traceback as its cause."""
    with pytest.raises(Failed, match=sentence) as caught:
        load(name, app_dir, factory)
    assert caught.value.__cause__ is not None


def test_app_dir_comes_first(app_dir: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Before everything on sys.path, even if the directory is on it already."""
    other = tmp_path_factory.mktemp("other")
    (other / "fixture_app.py").write_text("app = 5")
    sys.path[:0] = [str(other), app_dir]
    assert callable(load("fixture_app:app", app_dir, False))


# Interfaces


def wsgi_function(environ: Any, start_response: Any) -> None: ...


def wsgi_with_default(environ: Any, start_response: Any, extra: Any = None) -> None: ...


async def asgi_function(scope: Any, receive: Any, send: Any) -> None: ...


def asgi_plain(scope: Any, receive: Any, send: Any) -> None: ...


async def asgi_with_extra(extra: Any, scope: Any, receive: Any, send: Any) -> None: ...


class WsgiObject:
    def __call__(self, environ: Any, start_response: Any) -> None: ...


class AsgiObject:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class WsgiClass:
    """PEP 3333's own example: the class is the application, an instance its answer."""

    def __init__(self, environ: Any, start_response: Any) -> None: ...

    def __iter__(self) -> Any: ...


class SlotObject:
    """As SentryAsgiMiddleware of sentry-sdk has it: the instance says what a call of it does."""

    __slots__ = ("__call__",)

    def __init__(self, call: Any) -> None:
        self.__call__ = call


class Holder:
    def wsgi(self, environ: Any, start_response: Any) -> None: ...

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None: ...


def wrapped(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


@pytest.mark.parametrize(
    ("application", "expected"),
    [
        (wsgi_function, "wsgi"),
        (wsgi_with_default, "wsgi"),
        (WsgiObject(), "wsgi"),
        (WsgiClass, "wsgi"),
        (Holder().wsgi, "wsgi"),
        (wrapped(wsgi_function), "wsgi"),
        (lambda *args: None, "wsgi"),
        (SlotObject(wsgi_function), "wsgi"),
        (dict, "wsgi"),
        (asgi_function, "asgi"),
        (asgi_plain, "asgi"),
        (AsgiObject(), "asgi"),
        (Holder().asgi, "asgi"),
        (SlotObject(Holder().asgi), "asgi"),
        (SlotObject(asgi_plain), "asgi"),
        (functools.partial(asgi_with_extra, 1), "asgi"),
        (wrapped(asgi_function), "asgi"),
        (lambda scope, receive, send: None, "asgi"),
    ],
)
def test_interface(application: Any, expected: str) -> None:
    assert interface(application) == expected


def test_interface_of_frameworks() -> None:
    from flask import Flask
    from starlette.applications import Starlette

    assert interface(Flask("x")) == "wsgi"
    assert interface(Starlette()) == "asgi"


# Whether it can be called at all


def make_app() -> None: ...


def make_app_with(settings: Any = None) -> None: ...


async def make_app_late() -> None: ...


class Application:
    """An instance is an application; the class itself is a factory."""

    def __call__(self, environ: Any, start_response: Any) -> None: ...


@pytest.mark.parametrize("factory", [make_app, make_app_with, make_app_late, Application])
def test_factory_that_is_taken_for_an_application(factory: Any) -> None:
    with pytest.raises(
        UsageError, match=r"^APP 'a:b' cannot be called with .*; it looks like a factory: give --factory$"
    ):
        check_callable("APP 'a:b'", factory, interface(factory))


def view(request: Any) -> None: ...


@pytest.mark.parametrize(
    ("application", "kind", "arguments"),
    [
        (view, "wsgi", "environ, start_response"),
        (wsgi_function, "asgi", "scope, receive, send"),
        (asgi_function, "wsgi", "environ, start_response"),
        (asgi_with_extra, "asgi", "scope, receive, send"),
    ],
)
def test_callable_that_is_no_application(application: Any, kind: str, arguments: str) -> None:
    with pytest.raises(
        UsageError, match=rf"^APP 'a:b' cannot be called with \({arguments}\), as {kind.upper()} has it$"
    ):
        check_callable("APP 'a:b'", application, kind)


APPLICATIONS = [wsgi_function, wsgi_with_default, WsgiObject(), WsgiClass, Holder().wsgi, wrapped(wsgi_function)]
APPLICATIONS += [asgi_function, asgi_plain, AsgiObject(), Holder().asgi, functools.partial(asgi_with_extra, 1)]
APPLICATIONS += [wrapped(asgi_function), wrapped(view), lambda *args: None, lambda *args, **kwargs: None, dict, type]


@pytest.mark.parametrize("application", APPLICATIONS)
def test_application_can_be_called(application: Any) -> None:
    """A decorated function is checked by its decorator's signature; a callable in C has none and is accepted."""
    check_callable("APP 'a:b'", application, interface(application))


def test_applications_of_frameworks_can_be_called() -> None:
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler
    from flask import Flask
    from starlette.applications import Starlette

    check_callable("APP 'a:b'", Flask("x"), "wsgi")
    check_callable("APP 'a:b'", Starlette(), "asgi")
    check_callable("APP 'a:b'", WSGIHandler.__new__(WSGIHandler), "wsgi")
    check_callable("APP 'a:b'", ASGIHandler.__new__(ASGIHandler), "asgi")
