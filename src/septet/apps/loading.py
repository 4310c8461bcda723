"""Load an application from `module:attribute`, and detect its interface."""

import importlib
import inspect
import os
import select
import sys
import sysconfig
from collections.abc import Callable, Iterator
from traceback import TracebackException, walk_tb
from typing import Any

from septet.errors import Failed, SeptetError, UsageError, described


def load(name: str, app_dir: str, factory: bool, called: str = "") -> Any:
    """Import the application that `name` (`module:attribute`) names; the directory `app_dir` is searched first.

    `factory`: the attribute is called without arguments to get the application. `called`: how error messages call the
    application, in place of "APP 'module:attribute'". Raises UsageError if there is no such module or attribute, or the
    application is not callable. An exception of the module or the factory becomes Failed, with its traceback, and so
    does what gevent and eventlet do to the standard library, without one.
    """
    called = called or f"APP {name!r}"
    module_name, _, attribute = name.partition(":")
    directory = os.path.abspath(app_dir)
    sys.path[:] = [directory, *(path for path in sys.path if path != directory)]
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name + ".").startswith(error.name + "."):
            raise UsageError(f"{called}: there is no module {error.name!r} in {directory} or on sys.path") from None
        raise _failure(f"{called}: importing {module_name} failed: {error}", error) from error
    except SeptetError:
        raise
    except SystemExit as error:
        raise Failed(f"{called}: importing {module_name} failed: {exit_message(error)}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _failure(f"{called}: importing {module_name} failed: {described(error)}", error) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{called}: {module_name} has no attribute {attribute!r}{_candidates(found)}")
        found = getattr(found, part)
    if factory:
        found = _call_factory(called, found)
    if not callable(found):
        raise UsageError(f"{called} is a {type(found).__name__}; an application is callable")
    if not hasattr(select, "epoll"):  # gevent and eventlet remove it, and make greenlets of threads
        raise Failed(
            f"{called} replaces the threads and sockets of the standard library (as gevent.monkey.patch_all and "
            f"eventlet.monkey_patch do), and no process model can run so: leave that out, a request that waits has a "
            f"thread of its own"
        )
    return found


def _call_factory(called: str, factory: Callable[[], Any]) -> Any:
    try:
        return factory()
    except SystemExit as error:
        raise Failed(f"{called}: the factory failed: {exit_message(error)}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _failure(f"{called}: the factory failed: {described(error)}", error) from error


def exit_message(error: SystemExit) -> str:
    """Return the text that was given to sys.exit, or a sentence with the status that was given; then the file and line
    of the application or its libraries that called it, if known.
    """
    try:
        what = error.code if isinstance(error.code, str) else f"it called sys.exit({error.code!r})"
    except BaseException:  # raised by an object of the application's
        what = "it called sys.exit"
    outside = _outside(error)
    return "{} ({}, line {})".format(what, *outside[-1]) if outside else what


def application_line(error: BaseException) -> str:
    """Return the application's innermost file and line in the traceback of `error`, as text such as " (FILE, line 12)";
    if there is none, those of its libraries; "" if there are none of these either.
    """
    outside = _outside(error)
    own = [(file, line) for file, line in outside if not file.startswith(_INSTALLED)] or outside
    return " ({}, line {})".format(*own[-1]) if own else ""


def _outside(error: BaseException) -> list[tuple[str, int]]:
    """Return file and line of each frame in the traceback of `error` that is neither the server's nor of the standard
    library.
    """
    calls = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    return [(file, line) for file, line in calls if not (_leads_to_application(file) or _is_standard(file))]


def _is_standard(file: str) -> bool:
    """True for a file of the standard library, such as argparse.py, which calls sys.exit for the application."""
    return file.startswith(_STANDARD) and not file.startswith(_INSTALLED)


def _failure(sentence: str, error: BaseException) -> Failed:
    """Return a Failed whose text is `sentence`, with a traceback of `error` that shows the frames in the application
    and its libraries, and leaves out those of the server.
    """
    try:
        whole = TracebackException.from_exception(error, compact=True)
    except BaseException:  # raised by the exception, which is an object of the application's
        return Failed(sentence)
    chain = list(_chain(whole))
    for each in chain:
        each.stack[:] = [frame for frame in each.stack if not _leads_to_application(frame.filename)]
    # A factory that requires an argument was never entered, so no frame is left. A SyntaxError has its position in its
    # text.
    shown = isinstance(error, SyntaxError) or any(each.stack for each in chain)
    return Failed(sentence, "".join(whole.format()) if shown else "")


def _chain(error: TracebackException) -> Iterator[TracebackException]:
    """Yield an error, its causes and contexts, and the members of exception groups."""
    yield error
    for other in (error.__cause__, error.__context__, *(getattr(error, "exceptions", None) or ())):
        if other is not None:
            yield from _chain(other)


_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_IMPORTLIB = importlib.__file__
_STANDARD = sysconfig.get_path("stdlib") + os.sep
_INSTALLED = tuple(sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib"))
_EXAMPLES = os.path.join(_PACKAGE, "examples", "")


def _leads_to_application(filename: str) -> bool:
    if filename.startswith(_PACKAGE):
        return not filename.startswith(_EXAMPLES)
    return filename == _IMPORTLIB or filename.startswith("<frozen importlib.")


def _candidates(module: Any) -> str:
    names = [name for name in ("app", "application", "wsgi", "asgi", "create_app") if hasattr(module, name)]
    return f"; it has {' and '.join(names)}" if names else ""


def interface(application: Any) -> str:
    """Detect the interface: "asgi" for a coroutine function, or for three required parameters; else "wsgi"."""
    call = application if inspect.isroutine(application) else type(application).__call__
    if inspect.isdatadescriptor(call):  # a slot, as in SentryAsgiMiddleware: the instance says what a call of it does
        return interface(call.__get__(application))
    if inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(call):
        return "asgi"
    try:
        parameters = inspect.signature(application).parameters.values()
    except (TypeError, ValueError):
        return "wsgi"
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.kind in positional and p.default is p.empty]
    return "asgi" if len(required) == 3 else "wsgi"


_ARGUMENTS = {"wsgi": ("environ", "start_response"), "asgi": ("scope", "receive", "send")}


def check_callable(called: str, application: Any, kind: str, factory_cure: str = "--factory") -> None:
    """Raise UsageError if `application` does not take the arguments of its interface, `kind` ("wsgi" or "asgi").
    Otherwise every request would be answered 500.

    `called`: how the error message calls the application. `factory_cure`: the option that the message proposes if the
    application looks like a factory.
    """
    try:
        # The decorator is what is called, so its own signature counts, not that of the function it wraps.
        signature = inspect.signature(application, follow_wrapped=False)
    except (TypeError, ValueError):  # written in C, without a signature
        return
    arguments = _ARGUMENTS[kind]
    if _takes(signature, len(arguments)):
        return
    sentence = f"{called} cannot be called with ({', '.join(arguments)}), as {kind.upper()} has it"
    if _takes(signature, 0):
        sentence += f"; it looks like a factory: give {factory_cure}"
    raise UsageError(sentence)


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def has_websocket_routes(application: Any) -> bool:
    """True if an ASGI application is known to have routes for WebSockets. Those of Starlette and FastAPI are recognised
    by "WebSocket" in the name of a route's class, a router of Django Channels by its table of protocols.
    """
    if "websocket" in (getattr(application, "application_mapping", None) or ()):
        return True
    routes = getattr(application, "routes", None)
    return isinstance(routes, list) and any("WebSocket" in type(route).__name__ for route in routes)


def shows_its_routes(application: Any) -> bool:
    """True if `has_websocket_routes` can tell for an ASGI application: it has routes, or a table of protocols."""
    return bool(getattr(application, "application_mapping", None)) or isinstance(
        getattr(application, "routes", None), list
    )
