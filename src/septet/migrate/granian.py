"""Reads granian's command line."""

import re
from collections.abc import Mapping
from typing import Any

from septet.migrate.command_lines import settings_of
from septet.migrate.draft import Conversion, Draft, application, convert, level, number, whole
from septet.migrate.uvicorn import bind_host_and_port
from septet.settings.other_servers import table

SERVER = "granian"

SWITCHES = frozenset(
    name
    for each in [
        "ws",
        "http1-keep-alive",
        "http1-pipeline-flush",
        "http2-adaptive-window",
        "log",
        "access-log",
        "ssl-client-verify",
        "respawn-failed-workers",
        "factory",
        "metrics",
        "reload",
        "reload-ignore-worker-failure",
    ]
    for name in (each, f"no-{each}")
) | {"version"}
"""Options of granian's command line that take no value."""

_PAIRS = ("host", "port", "static-path-route", "static-path-mount", "metrics", "metrics-address", "metrics-port")
"""Options of granian that only together, such as host and port, become one option of ours."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def read_command_line(draft: Draft, words: list[str]) -> None:
    """Put the settings of the words after `granian` into the draft of septet.toml."""
    settings = list(settings_of(words, table(SERVER), SWITCHES))
    convert(draft, SERVER, [each for each in settings if each[0] not in _PAIRS], CONVERSIONS)
    where = dict(settings)
    if "host" in where or "port" in where:
        bind_host_and_port(draft, where)
    directories = [value for name, value in settings if name == "static-path-mount"]
    routes = [value for name, value in settings if name == "static-path-route"]
    for index, directory in enumerate(directories):
        route = routes[index] if index < len(routes) else "/static"
        draft.put("static-path-mount", "static", [f"{route}={directory}"])
    if "metrics" in where:
        address = f"{where.get('metrics-address', '127.0.0.1')}:{where.get('metrics-port', 9090)}"
        draft.put("metrics", "metrics_bind", address)
    draft.put("granian", "model", "epoll")


def _interface(draft: Draft, name: str, value: Any) -> None:
    if value == "rsgi":
        draft.leave(name, table(SERVER)["interface"])
    else:
        draft.put(name, "interface", {"asginl": "asgi"}.get(value, value))


def _duration(key: str) -> Conversion:
    """Return a conversion to our option `key` of a duration such as 90, 30s, 12h or 1d6h, which becomes seconds."""

    def put(draft: Draft, name: str, value: Any) -> None:
        text = str(value)
        parts = re.findall(r"(\d+)([smhd])", text)
        whole_text = "".join(count + unit for count, unit in parts) == text
        found = float(sum(int(count) * _UNITS[unit] for count, unit in parts)) if whole_text else number(text, float)
        draft.put(name, key, found)

    return put


def _milliseconds(draft: Draft, name: str, value: Any) -> None:
    found = number(value)
    draft.put(name, "header_timeout", found / 1000 if isinstance(found, int) else found)


def _permissions(draft: Draft, name: str, value: Any) -> None:
    if "uds" in draft.given:
        address = f"unix:{draft.given['uds']}"
        draft.values.pop("bind", None)
        draft.put(name, "bind", [f"{address}?mode={value}"])
        if "bind" not in draft.values:
            draft.put("uds", "bind", [address])


def _prefix(draft: Draft, name: str, value: Any) -> None:
    draft.put(name, "root_path", value)
    draft.put(name, "root_path_kept", True)


def _one(key: str) -> Conversion:
    return lambda draft, name, value: draft.put(name, key, [str(value)])


CONVERSIONS: Mapping[str, Conversion] = {
    "app": application,
    "uds": lambda draft, name, value: draft.put(name, "bind", [f"unix:{value}"]),
    "uds-permissions": _permissions,
    "interface": _interface,
    "no-ws": lambda draft, name, value: draft.put(name, "ws", "none"),
    "workers": whole("workers"),
    "blocking-threads": whole("threads"),
    "backlog": whole("backlog"),
    "backpressure": whole("limit_concurrency"),
    "http1-buffer-size": whole("limit_header_block"),
    "http1-header-read-timeout": _milliseconds,
    "log-level": level,
    "log-config": "log_config",
    "access-log": lambda draft, name, value: draft.put(name, "access_log", "-"),
    "access-log-fmt": "access_log_format",
    "ssl-certificate": _one("tls_certificate"),
    "ssl-keyfile": _one("tls_key"),
    "ssl-protocol-min": lambda draft, name, value: draft.put(name, "tls_min_version", str(value).removeprefix("tls")),
    "ssl-ca": "tls_client_ca",
    "ssl-crl": "tls_crl",
    "ssl-client-verify": lambda draft, name, value: draft.put(name, "tls_client_auth", "required"),
    "url-path-prefix": _prefix,
    "workers-lifetime": _duration("max_worker_age"),
    "workers-max-rss": lambda draft, name, value: draft.put(name, "max_worker_memory", f"{value}M"),
    "workers-kill-timeout": _duration("graceful_timeout"),
    "factory": "factory",
    "working-dir": "app_dir",
    "reload": "reload",
    "reload-paths": _one("reload_dir"),
    "reload-ignore-dirs": _one("reload_exclude"),
    "static-path-expires": lambda draft, name, value: draft.put(name, "static_cache_control", f"max-age={value}"),
    "pid-file": "pid_file",
}
