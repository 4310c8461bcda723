"""`septet`, as a program in which any call that its carriers make can be made to fail, once, from outside.

Every call expression `f(x)` in the modules that carry clients is compiled as `may_fail(f, site)(x)`. Which call is to
fail, and how, stands in a file that all processes of the server map, so that a test can say so between two requests;
see `faults`, which also reads what is written here. Nothing of the interpreter is replaced: builtin methods such as
`socket.send` cannot be, and a profiling function that raises is removed by the interpreter when it does.

To be run as a script, with FAULTS_DIRECTORY naming a directory.
"""

import ast
import builtins
import importlib
import mmap
import os
import pkgutil
import sys
import zlib
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any

PACKAGES = (
    "septet.models",
    "septet.pollers",
    "septet.loop",
    "septet.http",
    "septet.http2",
    "septet.websocket",
    "septet.proxies",
    "septet.apps",
    "septet.session",
    "septet.net",
)
MODULES = (
    "septet.forked",
    "septet.processes.children",
    "septet.processes.in_flight",
    "septet.processes.resource_exhaustion",
    "septet.processes.spool",
    "septet.processes.threads",
    "septet.service",
)

#: Words of the file `state`.
MODE, SITE, SKIP, KIND, FIRED, ROUND, NAME = range(7)
WORDS = 7
OFF, RECORD, FAIL = range(3)

_without_memory: type[BaseException] = vars(builtins)[os.environ.get("FAULTS_MEMORY_AS", "MemoryError")]
"""What is raised by calls of which it is said that they lack memory."""

_directory = Path(os.environ["FAULTS_DIRECTORY"])
_sites: list[str] = []
_seen: set[int] = set()
_round = 0

with (_directory / "state").open("r+b") as _file:
    _state = memoryview(mmap.mmap(_file.fileno(), 4 * WORDS)).cast("I")
_log = os.open(_directory / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)


def may_fail(function: Any, site: int) -> Any:
    """The function that is about to be called at this place; or an exception."""
    mode = _state[MODE]
    # By its name too, as at one place different functions are called, for instance callbacks.
    if mode == FAIL and _state[SITE] == site and _state[NAME] == zlib.crc32(_name(function).encode()):
        if _state[SKIP]:
            _state[SKIP] -= 1
            return function
        _state[MODE] = OFF
        _state[FIRED] += 1
        kind = _state[KIND]
        raise OSError(kind, f"deliberate: {os.strerror(kind)}") if kind else _without_memory("deliberate")
    if mode == RECORD:
        _record(function, site)
    return function


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", "") or type(function).__name__


def _record(function: Any, site: int) -> None:
    global _round
    if _round != _state[ROUND]:
        _round = _state[ROUND]
        _seen.clear()
    if site not in _seen:
        _seen.add(site)
        in_c = int(not hasattr(function, "__code__") and not hasattr(getattr(function, "__func__", None), "__code__"))
        os.write(_log, f"{_round} {site} {in_c} {_name(function)} {_sites[site]}\n".encode())


class _Calls(ast.NodeTransformer):
    def __init__(self, path: str) -> None:
        self._name = path.rpartition("/septet/")[2]

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "super":  # which the compiler knows by its name
            return node
        site = len(_sites)
        _sites.append(f"{self._name}:{node.lineno}:{node.col_offset}")
        arguments = [node.func, ast.Constant(site)]
        node.func = ast.Call(ast.Name("_septet_may_fail", ast.Load()), arguments, [])
        return node


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> Any:
        """Compiled anew each time, as nothing of this may be cached."""
        tree = _Calls(self.path).visit(ast.parse(self.get_data(self.path), self.path))
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if not (fullname in MODULES or fullname.startswith(PACKAGES)):
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


def install() -> None:
    """Before septet is imported: all of it at once, for the sites to have the same numbers in every process."""
    vars(builtins)["_septet_may_fail"] = may_fail
    sys.meta_path.insert(0, _Finder())
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            importlib.import_module(module.name)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parent.parent)
    install()
    from septet.cli import main

    sys.exit(main())
