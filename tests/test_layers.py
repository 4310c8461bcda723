"""The arrows of the design, read from the imports: what may import what in `septet`.

    cli -> server -> models -> service -> settings, apps, processes, session
                        \\-> protocol  session -> protocol, proxies, rules, http -> exchange
                        \\-> loop -> pollers
    lab -> runs `septet serve` as a separate process

A layer may import the layers at the end of its arrows, directly or further on; never back. Annotations count as
well: what a module names, its reader must know.
"""

import ast
import graphlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import septet

PACKAGE = Path(septet.__file__).parent

#: What anybody may import.
PLAIN = frozenset({"accounts", "cgroups", "errors", "forked", "interpreter", "remains", "thread", ""})
#: Which may import everything, and are imported by their one caller alone.
TOP = frozenset({"__main__", "cli", "server", "embedding", "preparation", "dry_run"})

#: What each layer may import besides itself and what is PLAIN.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "exchange": frozenset(),
    "protocol": frozenset({"exchange"}),
    "http": frozenset({"exchange", "protocol"}),
    "proxies": frozenset({"exchange", "http"}),
    "rules": frozenset({"exchange", "http"}),
    "http2": frozenset({"exchange", "http"}),
    "websocket": frozenset({"exchange"}),
    "session": frozenset({"exchange", "protocol", "rules", "http", "http2", "proxies", "websocket"}),
    "pollers": frozenset(),
    "loop": frozenset({"pollers"}),
    "apps": frozenset({"date_and_server", "exchange", "http", "websocket"}),
    "net": frozenset(),
    "certificate": frozenset(),
    "inventory": frozenset(),
    "settings": frozenset({"inventory", "log_format", "net", "proxies"}),
    "migrate": frozenset({"settings"}),
    "metrics": frozenset({"exchange", "protocol", "rules"}),
    "processes": frozenset({"exchange", "rules", "loop", "metrics", "pollers", "streams"}),
    "date_and_server": frozenset(),
    "streams": frozenset(),
    "logs": frozenset(),
    "log_format": frozenset({"exchange"}),
    "access_log": frozenset({"log_format", "logs", "protocol", "streams"}),
    "spans": frozenset({"exchange", "protocol", "rules", "streams"}),
    "observers": frozenset({"protocol", "rules"}),
    "sites": frozenset({"apps", "inventory", "log_format", "settings", "spans"}),
    "service": frozenset(
        {"access_log", "apps", "date_and_server", "exchange", "http", "inventory", "log_format", "logs", "metrics"}
        | {"net", "observers"}
        | {"processes", "protocol", "proxies", "rules", "session", "settings", "sites", "spans", "websocket"}
    ),
    "console": frozenset(
        {"apps", "date_and_server", "exchange", "http", "metrics", "models", "net", "pollers", "processes", "protocol"}
        | {"rules", "service", "settings"}
    ),
    "isolated": frozenset({"logs", "metrics", "net", "processes", "service", "settings", "sites", "streams"}),
    "models": frozenset(
        {"apps", "exchange", "inventory", "isolated", "loop", "net", "pollers", "processes", "protocol", "rules"}
        | {"service"}
    ),
    "examples": frozenset(),
    "lab": frozenset(),
}

#: Which of the laboratory's packages each of them may import. All but `load` may import the modules beside them, too:
#: that one is a program of its own, on every CPU that it loads from.
LAB_MAY_IMPORT: dict[str, frozenset[str]] = {
    "load": frozenset(),
    "threads": frozenset(),
    "trace": frozenset({"threads"}),
    "cluster": frozenset({"load"}),
    "where": frozenset({"load", "threads", "trace"}),
    "report": frozenset({"load", "trace", "where"}),
    "compare": frozenset(),
    "drill": frozenset({"load"}),
    "objective": frozenset({"load", "report"}),
    "advise": frozenset(),
}

#: What `http`, `rules` and `session` may import of the standard library: nothing in it does I/O or reads a clock.
# Of `io` the files that lie in memory.
PURE = frozenset(
    {
        "collections",
        "collections.abc",
        "dataclasses",
        "enum",
        "functools",
        "http",
        "io",
        "ipaddress",
        "itertools",
        "operator",
        "re",
        "typing",
    }
)


#: What single modules of these layers may import besides: `ssl.MemoryBIO` is memory.
PURE_IN = {
    "session/tls.py": frozenset({"ssl"}),
    "session/_tls_info.py": frozenset({"ssl"}),
    "session/_tls_output.py": frozenset({"ssl"}),
    "http2/connection.py": frozenset({"h2.config", "h2.connection", "h2.errors", "h2.events", "h2.exceptions"})
    | frozenset({"h2.settings", "hyperframe.frame"}),
    "http2/compression.py": frozenset({"h2.errors", "h2.exceptions", "hpack", "hpack.exceptions"}),
    "session/_http2_input.py": frozenset({"h2.events"}),
    "websocket/handshake.py": frozenset({"base64", "binascii", "hashlib"}),
    "websocket/deflate.py": frozenset({"zlib"}),
    "websocket/frames.py": frozenset({"codecs", "struct"}),
    "websocket/tunnel.py": frozenset({"logging"}),  # the library asks for a logger
}


class Import(NamedTuple):
    """One import of `module`, at `path:line`."""

    path: Path
    line: int
    module: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(PACKAGE.parent)}:{self.line} imports {self.module}"


def imports_of(path: Path) -> Iterator[Import]:
    """Everything that the module at `path` imports, at whatever depth, with relative names made absolute."""
    package = [PACKAGE.name, *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(path, node.lineno, _named(module, alias.name))


def _named(module: str, name: str) -> str:
    """`from package import module` names a module; `from module import name` does not."""
    file = PACKAGE.parent.joinpath(*module.split("."), name)
    return f"{module}.{name}" if file.with_suffix(".py").exists() or file.is_dir() else module


@cache
def all_imports() -> list[Import]:
    return [found for path in sorted(PACKAGE.rglob("*.py")) for found in imports_of(path)]


def layer(module: str) -> str | None:
    """The first name below `septet`; "" for the package itself, None for what is not ours."""
    names = module.split(".")
    if names[0] != PACKAGE.name:
        return None
    return names[1] if len(names) > 1 else ""


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_arrows(name: str) -> None:
    allowed = MAY_IMPORT[name] | {name} | PLAIN
    wrong = [
        str(found)
        for found in all_imports()
        if layer_of(found.path) == name and (target := layer(found.module)) is not None and target not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_every_module_has_its_place() -> None:
    """A new one is to be added to the picture, and to the tables above."""
    found = {layer_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert found <= MAY_IMPORT.keys() | PLAIN | TOP


def lab_package(module: str) -> str | None:
    """The package of the laboratory that the module is in; "" for those beside them, None for what is not the lab's."""
    names = module.split(".")
    if names[:2] != [PACKAGE.name, "lab"]:
        return None
    return names[2] if len(names) > 2 and (PACKAGE / "lab" / names[2]).is_dir() else ""


def module_of(path: Path) -> str:
    return ".".join([PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


def test_packages_of_the_laboratory() -> None:
    """Its verbs stand side by side: what two of them share lies below both."""
    wrong = []
    for found in all_imports():
        package, target = lab_package(module_of(found.path)), lab_package(found.module)
        if package and target is not None and target not in LAB_MAY_IMPORT[package] | {package}:
            wrong += [str(found)] if target or package == "load" else []
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["lab", "loop", "models", "pollers", "processes"])
def test_imports_form_no_circle(name: str) -> None:
    """Nor late, within a function: what is imported there is used there."""
    modules = {module_of(path) for path in (PACKAGE / name).rglob("*.py")}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for found in all_imports():
        importer = module_of(found.path)
        target = found.module if found.module in modules else found.module.rpartition(".")[0]
        if importer in modules and target in modules and target != importer:
            graph[importer].add(target)
    graphlib.TopologicalSorter(graph).prepare()


def node_of(module: str) -> str:
    """The package that a module is in, and below `septet` and `septet.lab` the module itself: a node of the graph.

    `septet.models.epoll` and `septet.models` are "models", `septet.lab.load.plan` is "lab.load", `septet.lab.bench` is
    "lab.bench".
    """
    names = module.split(".")[1:]
    depth = 2 if names[:1] == ["lab"] else 1
    return ".".join(names[:depth])


def package_graph() -> dict[str, set[str]]:
    """Which package imports which, late imports included; without the bare `septet` and `septet.lab`."""
    graph: dict[str, set[str]] = {}
    for found in all_imports():
        importer, target = node_of(module_of(found.path)), node_of(found.module)
        if layer(found.module) and importer and target not in ("", "lab", importer):
            graph.setdefault(importer, set()).add(target)
    return graph


def test_packages_import_in_no_circle() -> None:
    """A circle of packages can hide where no two modules import each other."""
    graph = package_graph()
    graphlib.TopologicalSorter(graph).prepare()
    assert {"lab.trace", "lab.threads"} <= graph["lab.afterwards"] | graph["lab.trace"]


def test_nobody_imports_the_top() -> None:
    """`cli` is imported by the entry points alone, `server` by `cli` and `embedding`, that by the bare package."""
    allowed = {"cli": {"__main__"}, "server": {"cli", "embedding"}, "embedding": {"__init__"}}
    wrong = [
        str(found)
        for found in all_imports()
        if (target := layer(found.module)) in allowed
        and layer_of(found.path) not in allowed[str(target)] | {str(target)}
    ]
    assert not wrong, "\n".join(wrong)


def test_one_birthplace_of_connections() -> None:
    """Which protocol a client speaks is decided in one place; carriers know `ServerProtocol` and no more."""
    importers = {module_of(found.path) for found in all_imports() if found.module == "septet.session.http1"}
    assert importers == {
        "septet.service",
        "septet.session.observed",
        "septet.session.websocket",  # what a session becomes
        "septet.session.prior_knowledge",
        "septet.session.http2",
    }


def test_the_library_of_http2_is_optional() -> None:
    """Only what is imported when HTTP/2 is spoken imports it."""
    importers = {
        module_of(found.path) for found in all_imports() if found.module.split(".")[0] in ("h2", "hpack", "hyperframe")
    }
    load = {"septet.lab.load.http2"}
    assert importers == {"septet.http2.compression", "septet.http2.connection", "septet.session._http2_input"} | load
    parts = ("_http2_answer", "_http2_body", "_http2_exchange", "_http2_output", "_http2_state", "_http2_websocket")
    behind = {*(importers - load), "septet.session.http2", *(f"septet.session.{part}" for part in parts)}
    for found in all_imports():
        if found.module in behind:
            assert module_of(found.path) in {*behind, "septet.service", "septet.session.websocket"}, found
        if found.module in load | {"septet.lab.load.streams"}:
            assert module_of(found.path) in ("septet.lab.load.streams", "septet.lab.load.run"), found


def test_the_library_of_websocket_is_optional() -> None:
    """Nothing that a server without it imports may import it."""
    importers = {module_of(found.path) for found in all_imports() if found.module.startswith("websockets")}
    assert importers == {
        "septet.sites",  # its version alone
        "septet.websocket.deflate",
        "septet.websocket.frames",
        "septet.websocket.tunnel",
    }
    behind = {"septet.session.websocket", "septet.session._http2_websocket", *importers} - {"septet.sites"}
    wrong = [
        str(found)
        for found in all_imports()
        if found.module in behind and module_of(found.path) not in behind | {"septet.service"}
    ]
    assert not wrong, "\n".join(wrong)


def test_applications_know_http_by_its_heads_and_cache() -> None:
    allowed = {"septet.http.head", "septet.http.cache"}
    wrong = [
        str(found)
        for found in all_imports()
        if layer_of(found.path) == "apps" and layer(found.module) == "http" and found.module not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def _pure(path: Path) -> frozenset[str]:
    return PURE | PURE_IN.get(str(path.relative_to(PACKAGE)), frozenset())


@pytest.mark.parametrize("name", ["exchange", "protocol", "http", "http2", "rules", "session", "websocket"])
def test_protocol_does_no_input_or_output(name: str) -> None:
    """Neither sockets nor files nor clocks: bytes and instants are arguments."""
    wrong = [
        str(found)
        for found in all_imports()
        if layer_of(found.path) == name
        and layer(found.module) is None
        and found.module not in _pure(found.path)
        and not (name == "websocket" and found.module.startswith("websockets."))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import septet.models\n", "septet.models"),
        ("from septet.models import epoll\n", "septet.models.epoll"),
        ("from ..session.http1 import Session\n", "septet.session.http1"),
        ("from ..session import http1\n", "septet.session.http1"),
        ("from . import grammar\n", "septet.http.grammar"),
        ("def late():\n    import socket\n", "socket"),
        ("from time import monotonic\n", "time"),
    ],
)
def test_imports_are_found(source: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader above would make every test here pass if it saw nothing."""
    package = tmp_path / "septet"
    for name in ("models/epoll.py", "http/grammar.py", "session/http1.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).touch()
    (package / "http" / "one.py").write_text(source)
    monkeypatch.setattr(f"{__name__}.PACKAGE", package)
    assert [found.module for found in imports_of(package / "http" / "one.py")] == [module]
