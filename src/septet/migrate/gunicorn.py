"""Reads gunicorn's gunicorn.conf.py, which is a program, and its command line."""

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from septet.errors import Failed
from septet.migrate.command_lines import APP, settings_of
from septet.migrate.draft import (
    Conversion,
    Draft,
    application,
    client_auth,
    convert,
    level,
    number,
    peers,
    seconds,
    whole,
)
from septet.settings.other_servers import table

SERVER = "gunicorn"

SWITCHES = frozenset(
    [
        "reload",
        "spew",
        "check-config",
        "print-config",
        "preload",
        "no-sendfile",
        "reuse-port",
        "daemon",
        "D",
        "initgroups",
        "disable-redirect-access-to-syslog",
        "capture-output",
        "log-syslog",
        "enable-stdio-inheritance",
        "R",
        "enable-backlog-metric",
        "suppress-ragged-eofs",
        "do-handshake-on-connect",
        "permit-obsolete-folding",
        "strip-header-spaces",
        "permit-unconventional-http-method",
        "permit-unconventional-http-version",
        "casefold-http-method",
        "no-control-socket",
    ]
)
"""Options of gunicorn's command line that take no value."""

_LETTERS = {"b": "bind", "w": "workers", "k": "worker-class", "t": "timeout", "p": "pidfile", "u": "user", "g": "group"}
_LETTERS |= {"m": "umask", "c": "config", "n": "proc-name", "e": "env", "D": "daemon", "R": "enable-stdio-inheritance"}
_SPELLINGS = {
    "pid": "pidfile",
    "keep-alive": "keepalive",
    "access-logfile": "accesslog",
    "access-logformat": "access-log-format",
    "log-level": "loglevel",
    "preload": "preload-app",
    "log-config-json": "logconfig-json",
    "log-config": "logconfig",
    "proxy-allow-from": "proxy-allow-ips",
    "env": "raw-env",
}
"""The name in gunicorn.conf.py of each option that has another name on the command line."""

_NO_SETTINGS = {*_LETTERS, "config", "name", "pid", "env", "paster", "paste-global", "no-sendfile", "log-file"}
"""Names that are options of gunicorn's command line only; in a gunicorn.conf.py a variable of this name is the user's
own.
"""

_MODELS = {"sync": "preforked", "gthread": "prethreaded", "asgi": "epoll", "gevent": "epoll", "eventlet": "epoll"}


def read_file(draft: Draft, path: Path) -> None:
    """Run a gunicorn.conf.py, as gunicorn does, and put its settings into the draft of septet.toml. Raises Failed if it
    raises.
    """
    try:
        namespace = runpy.run_path(str(path))
    except (Exception, SystemExit) as error:
        raise Failed(f"{path} cannot be run: {type(error).__name__}: {error}") from None
    known = table(SERVER).keys() - _SPELLINGS.keys() - _NO_SETTINGS
    _convert(draft, {name: value for name, value in namespace.items() if name.replace("_", "-") in known})


def read_command_line(draft: Draft, words: list[str]) -> None:
    """Put the settings of the words after `gunicorn` into the draft of septet.toml. If they name a configuration file,
    its settings come first, and those of the words replace them.
    """
    settings: dict[str, Any] = {}
    environment: list[Any] = []
    binds: list[Any] = []
    for name, value in settings_of(words, {**table(SERVER), APP: ""}, SWITCHES):
        name = _LETTERS.get(name, name)
        name = _SPELLINGS.get(name, name)
        if name == "bind":
            binds.append(value)
        elif name == "raw-env":
            environment.append(value)
        else:
            settings["wsgi-app" if name == APP else name] = value
    settings |= {"bind": binds} if binds else {}
    settings |= {"raw-env": environment} if environment else {}
    file = settings.pop("config", None)
    if file is not None:
        read_file(draft, Path(str(file).removeprefix("file:")))
        for name in ("bind", "forwarded_allow_ips"):  # the command line replaces what the file has
            if name.replace("_", "-") in settings:
                draft.values.pop(name, None)
    _convert(draft, settings)


def _convert(draft: Draft, settings: Mapping[str, Any]) -> None:
    convert(draft, SERVER, settings.items(), CONVERSIONS)
    threads = number(draft.given.get("threads", 1))
    model = draft.values.setdefault("model", "preforked")  # its default class of workers is sync
    if model == "preforked":
        if isinstance(threads, int) and threads > 1:  # gunicorn takes gthread then
            draft.values["model"] = "prethreaded"
        else:
            draft.values.pop("threads", None)
    if draft.values["model"] == "epoll":
        draft.values.pop("threads", None)
    if draft.values["model"] == "preforked":
        draft.values.setdefault("workers", 1)
    _trust_unix_sockets(draft)


def _trust_unix_sockets(draft: Draft) -> None:
    """gunicorn trusts the peers on its unix sockets whatever its settings say; ours are named like others."""
    trusted = draft.values.get("forwarded_allow_ips")
    if trusted and "*" not in trusted and any(bind.startswith("unix:") for bind in draft.values.get("bind", ())):
        others = [word for word in trusted if word not in ("none", "unix:")]
        draft.values["forwarded_allow_ips"] = [*others, "unix:"]


def _bind(draft: Draft, name: str, value: Any) -> None:
    for text in value.split(",") if isinstance(value, str) else value:
        draft.put(name, "bind", [address(text.strip())])


def address(text: str) -> str:
    """Return the address in the form that our options take, such as 0.0.0.0:8000; gunicorn allows the host or the port
    to be left out.
    """
    if text.startswith(("unix:", "fd://")):
        return text
    text = text.removeprefix("tcp://")
    if text.startswith(":"):
        return f"0.0.0.0{text}"
    if text.isdecimal():
        return f"0.0.0.0:{text}"
    return text if ":" in text.rpartition("]")[2] else f"{text}:8000"


def _worker_class(draft: Draft, name: str, value: Any) -> None:
    text = value if isinstance(value, str) else getattr(value, "__name__", str(value))
    simple = text.rpartition(".")[2]
    if simple in ("UvicornWorker", "UvicornH11Worker", "AsyncioUvicornWorker"):
        simple = "asgi"
    model = _MODELS.get(simple.lower())
    if model is None:
        draft.leave(name, f"there is no model like {text}; epoll is chosen, and `septet models` lists the others")
    elif simple in ("gevent", "eventlet"):
        draft.remark(f"{name}: nothing is patched as {text} does; under epoll requests wait in threads, see --threads")
    draft.put(name, "model", model or "epoll")


def _timeout(draft: Draft, name: str, value: Any) -> None:
    """Convert gunicorn's `timeout`. For sync workers with one thread it limits the time of a request, so it becomes our
    `request_timeout`; for others it only limits how long a worker may be stuck: `worker_timeout`. 0 means no limit, and
    sets nothing.
    """
    if number(value) == 0:
        return
    simple = str(draft.given.get("worker-class", "sync")) == "sync" and number(draft.given.get("threads", 1)) == 1
    draft.put(name, "request_timeout" if simple else "worker_timeout", number(value, float))


def _raw_env(draft: Draft, name: str, value: Any) -> None:
    for text in [value] if isinstance(value, str) else value:
        variable, _, content = text.partition("=")
        if variable == "SCRIPT_NAME":
            _root_path(draft, f"{name} SCRIPT_NAME", content)
        else:
            draft.leave(f"{name} {variable}", table(SERVER)["raw-env"])


def _root_path(draft: Draft, name: str, value: Any) -> None:
    """Set the prefix of the application's paths (SCRIPT_NAME), which the proxy does not remove from the paths of
    requests.
    """
    if value:
        draft.put(name, "root_path", str(value))
        draft.put(name, "root_path_kept", True)


def _umask(draft: Draft, name: str, value: Any) -> None:
    mode = number(value)
    draft.put(name, "umask", f"{mode:03o}" if isinstance(mode, int) and not isinstance(value, str) else str(value))


def _text(key: str) -> Conversion:
    return lambda draft, name, value: draft.put(name, key, str(value)) if value not in (None, "") else None


def _directory(draft: Draft, name: str, value: Any) -> None:
    draft.put(name, "app_dir", str(value).partition(",")[0])
    if name == "chdir":
        draft.remark(f"chdir is --app-dir, where modules are looked for; for other paths: cd {value}")


def _proxy_protocol(draft: Draft, name: str, value: Any) -> None:
    draft.put(name, "proxy_protocol", str(value).lower() not in ("off", "false", "0"))


def _header_map(draft: Draft, name: str, value: Any) -> None:
    draft.put(name, "underscore_headers", {"dangerous": "allow"}.get(str(value), str(value)))


def _certificates(key: str) -> Conversion:
    return lambda draft, name, value: draft.put(name, key, [str(value)]) if value else None


CONVERSIONS: Mapping[str, Conversion] = {
    "wsgi-app": application,
    "bind": _bind,
    "backlog": whole("backlog"),
    "workers": whole("workers"),
    "worker-class": _worker_class,
    "threads": whole("threads"),
    "max-requests": whole("max_requests"),
    "max-requests-jitter": whole("max_requests_jitter"),
    "timeout": _timeout,
    "graceful-timeout": seconds("graceful_timeout"),
    "keepalive": seconds("keep_alive_timeout"),
    "limit-request-line": whole("limit_request_line"),
    "limit-request-fields": whole("limit_header_count"),
    "reload": "reload",
    "chdir": _directory,
    "pythonpath": _directory,
    "raw-env": _raw_env,
    "pidfile": _text("pid_file"),
    "user": _text("user"),
    "group": _text("group"),
    "umask": _umask,
    "forwarded-allow-ips": peers,
    "proxy-allow-ips": peers,
    "accesslog": _text("access_log"),
    "access-log-format": _text("access_log_format"),
    "loglevel": level,
    "logconfig-json": _text("log_config"),
    "proxy-protocol": _proxy_protocol,
    "certfile": _certificates("tls_certificate"),
    "keyfile": _certificates("tls_key"),
    "ca-certs": _text("tls_client_ca"),
    "cert-reqs": client_auth,
    "ciphers": _text("tls_ciphers"),
    "header-map": _header_map,
    "websocket-max-message-size": whole("ws_max_message"),
    "root-path": _root_path,
    "control-socket": _text("control"),
}
