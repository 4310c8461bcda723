"""Reads uvicorn's command line."""

from collections.abc import Mapping
from typing import Any

from septet.migrate.command_lines import settings_of
from septet.migrate.draft import (
    Conversion,
    Draft,
    application,
    client_auth,
    convert,
    level,
    peers,
    seconds,
    whole,
)
from septet.settings.other_servers import table

SERVER = "uvicorn"

SWITCHES = frozenset(
    [
        "reload",
        "http2",
        "access-log",
        "no-access-log",
        "use-colors",
        "no-use-colors",
        "proxy-headers",
        "no-proxy-headers",
        "server-header",
        "no-server-header",
        "date-header",
        "no-date-header",
        "version",
        "reset-contextvars",
        "factory",
    ]
)
"""Options of uvicorn's command line that take no value."""


def read_command_line(draft: Draft, words: list[str]) -> None:
    """Put the settings of the words after `uvicorn` into the draft of septet.toml."""
    settings = list(settings_of(words, table(SERVER), SWITCHES))
    convert(draft, SERVER, [each for each in settings if each[0] not in ("host", "port")], CONVERSIONS)
    where = dict(settings)
    if "host" in where or "port" in where:
        bind_host_and_port(draft, where)
    if draft.values.get("model") is None:
        draft.put("uvicorn", "model", "epoll")


def bind_host_and_port(draft: Draft, where: Mapping[str, Any]) -> None:
    """Set our option for the address from the other server's options host and port in `where`, of which one may be
    missing.
    """
    host = str(where.get("host", "127.0.0.1"))
    draft.put("host", "bind", [f"{f'[{host}]' if ':' in host else host}:{where.get('port', 8000)}"])


def _one(key: str) -> Conversion:
    return lambda draft, name, value: draft.put(name, key, [str(value)])


def _ws(draft: Draft, name: str, value: Any) -> None:
    draft.put(name, "ws", "none" if value == "none" else "auto")


def _interface(draft: Draft, name: str, value: Any) -> None:
    draft.put(name, "interface", {"asgi3": "asgi"}.get(value, value))


def _deflate(draft: Draft, name: str, value: Any) -> None:
    draft.put(name, "ws_deflate", str(value).lower() in ("1", "true", "yes", "on", "t", "y"))


def _fixed(key: str, value: Any) -> Conversion:
    """Return the conversion of a switch (an option without a value) that sets our option `key` to `value`."""
    return lambda draft, name, _: draft.put(name, key, value)


CONVERSIONS: Mapping[str, Conversion] = {
    "app": application,
    "uds": lambda draft, name, value: draft.put(name, "bind", [f"unix:{value}"]),
    "fd": lambda draft, name, value: draft.put(name, "bind", [f"fd://{value}"]),
    "reload": "reload",
    "reload-dir": _one("reload_dir"),
    "reload-include": _one("reload_include"),
    "reload-exclude": _one("reload_exclude"),
    "workers": whole("workers"),
    "ws": _ws,
    "ws-max-size": whole("ws_max_message"),
    "ws-ping-interval": seconds("ws_ping_interval"),
    "ws-ping-timeout": seconds("ws_ping_timeout"),
    "ws-per-message-deflate": _deflate,
    "interface": _interface,
    "log-level": level,
    "access-log": _fixed("access_log", "-"),
    "no-proxy-headers": _fixed("forwarded_allow_ips", ["none"]),
    "no-server-header": _fixed("server_header", ""),
    "no-date-header": _fixed("date_header", False),
    "forwarded-allow-ips": peers,
    "root-path": "root_path",
    "limit-concurrency": whole("limit_concurrency"),
    "backlog": whole("backlog"),
    "limit-max-requests": whole("max_requests"),
    "limit-max-requests-jitter": whole("max_requests_jitter"),
    "timeout-keep-alive": seconds("keep_alive_timeout"),
    "timeout-graceful-shutdown": seconds("graceful_timeout"),
    "timeout-worker-healthcheck": seconds("worker_timeout"),
    "ssl-keyfile": _one("tls_key"),
    "ssl-certfile": _one("tls_certificate"),
    "ssl-cert-reqs": client_auth,
    "ssl-ca-certs": "tls_client_ca",
    "ssl-ciphers": "tls_ciphers",
    "app-dir": "app_dir",
    "h11-max-incomplete-event-size": whole("limit_header_block"),
    "factory": "factory",
}
