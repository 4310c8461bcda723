"""Reads uWSGI's ini files, and its command line."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from septet.errors import UsageError
from septet.migrate.command_lines import APP, settings_of
from septet.migrate.draft import Conversion, Draft, application, convert, number, seconds, whole
from septet.migrate.gunicorn import address
from septet.settings.other_servers import table
from septet.settings.other_servers.uwsgi import GROUPS

SERVER = "uwsgi"

SWITCHES = frozenset(
    [
        "master",
        "M",
        "no-orphans",
        "enable-threads",
        "manage-script-name",
        "vacuum",
        "die-on-term",
        "lazy-apps",
        "lazy",
        "single-interpreter",
        "i",
        "need-app",
        "strict",
        "thunder-lock",
        "ignore-sigpipe",
        "ignore-write-errors",
        "disable-write-exception",
        "so-keepalive",
        "tcp-nodelay",
        "close-on-exec",
        "py-call-osafterfork",
        "disable-logging",
        "L",
        "log-master",
        "logdate",
        "log-x-forwarded-for",
        "auto-procname",
        "memory-report",
        "stats-http",
        "harakiri-verbose",
        "log-reopen",
    ]
)
"""Options of uWSGI that take no value on its command line."""

_ON, _OFF = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def read_file(draft: Draft, path: Path) -> None:
    """Put the settings in the section [uwsgi] of an ini file into the draft of septet.toml. Raises UsageError if the
    file cannot be read or has no such section.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    settings: list[tuple[str, str]] = []
    section, variables = "", {"n": path.stem, "d": f"{path.resolve().parent}/", "p": str(path.resolve()), "%": "%"}
    found = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
            found = found or section == "uwsgi"
        elif section == "uwsgi" and line and line[0] not in ";#":
            name, _, value = (part.strip() for part in line.partition("="))
            value = _expanded(value, variables)
            variables[name] = value
            settings.append((name, value))
    if not found:
        raise UsageError(f"{path} has no section [uwsgi]")
    _convert(draft, settings, frozenset(re.findall(r"%\(([\w-]+)\)", text)))


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """Return a value of an ini file with its placeholders replaced: %(name) by an earlier setting, %n, %d and %p by the
    file's name, directory and path, %% by %. An unknown placeholder stays.
    """
    return re.sub(r"%\(([\w-]+)\)|%([ndp%])", lambda found: variables.get(found[1] or found[2], found[0]), text)


def read_command_line(draft: Draft, words: list[str]) -> None:
    """Put the settings of the words after `uwsgi` into the draft of septet.toml. The settings of ini files that they
    name are put there first.
    """
    known = {**table(SERVER), APP: "", "ini": ""}
    settings = list(settings_of(words, known, SWITCHES))
    for name, value in settings:
        if name == "ini" or (name == APP and str(value).endswith(".ini")):
            read_file(draft, Path(str(value)))
    _convert(draft, [(n, str(v)) for n, v in settings if n not in ("ini", APP)])


def _convert(draft: Draft, settings: list[tuple[str, str]], placeholders: frozenset[str] = frozenset()) -> None:
    """Convert settings of uWSGI into the draft of septet.toml. `placeholders`: names that values refer to as %(name); a
    setting of this name that is no option of uWSGI is not reported as left out.
    """
    used = [(name, value) for name, value in settings if value.lower() not in _OFF]
    named = [each for each in used if each[0].replace("_", "-") in table(SERVER)]
    convert(draft, SERVER, named, CONVERSIONS)
    for name, _ in used:
        if name.replace("_", "-") not in table(SERVER):
            group = next((text for beginning, text in GROUPS.items() if name.startswith(beginning)), "")
            if name not in placeholders:
                draft.leave(name, group or "it is no option of uWSGI that is known here")
    threads = number(draft.given.get("threads", 1))
    if isinstance(threads, int) and threads > 1:
        draft.put("threads", "model", "prethreaded")
    else:
        draft.values.pop("threads", None)
        draft.values.setdefault("model", "preforked")
        draft.values.setdefault("workers", 1)


def _module(draft: Draft, name: str, value: Any) -> None:
    text = str(value)
    if name in ("wsgi-file", "file"):
        text = Path(text).stem
    attribute = draft.given.get("callable", "application")
    application(draft, name, text if ":" in text else f"{text}:{attribute}")


def _bind(draft: Draft, name: str, value: Any) -> None:
    text = str(value).partition(",")[0]
    is_path = "/" in text or ":" not in text
    draft.put(name, "bind", [f"unix:{text}" if is_path else address(text)])
    if name in ("socket", "s", "uwsgi-socket"):
        draft.remark(f"{name} becomes an address for HTTP: let nginx use proxy_pass in place of uwsgi_pass")


def _mount(draft: Draft, name: str, value: Any) -> None:
    route, _, target = str(value).partition("=")
    if target.endswith(".py"):
        target = Path(target).stem
    if ":" not in target:
        target = f"{target}:{draft.given.get('callable', 'application')}"
    if route.strip("/"):
        draft.put(name, "mount", [f"{route}={target}"])
    else:
        application(draft, name, target)


def _megabytes(draft: Draft, name: str, value: Any) -> None:
    draft.put(name, "max_worker_memory", f"{value}M")


def _text(key: str) -> Conversion:
    return lambda draft, name, value: draft.put(name, key, str(value))


CONVERSIONS: Mapping[str, Conversion] = {
    "module": _module,
    "wsgi": _module,
    "w": _module,
    "wsgi-file": _module,
    "file": _module,
    "callable": lambda draft, name, value: None,  # read by `_module` and `_mount`
    "mount": _mount,
    "http": _bind,
    "http-socket": _bind,
    "socket": _bind,
    "s": _bind,
    "uwsgi-socket": _bind,
    "processes": whole("workers"),
    "workers": whole("workers"),
    "p": whole("workers"),
    "threads": whole("threads"),
    "chdir": _text("app_dir"),
    "pythonpath": _text("app_dir"),
    "pp": _text("app_dir"),
    "harakiri": seconds("request_timeout"),
    "max-requests": whole("max_requests"),
    "max-requests-delta": whole("max_requests_jitter"),
    "max-worker-lifetime": seconds("max_worker_age"),
    "reload-on-rss": _megabytes,
    "evil-reload-on-rss": _megabytes,
    "worker-reload-mercy": seconds("graceful_timeout"),
    "reload-mercy": seconds("graceful_timeout"),
    "buffer-size": whole("limit_header_block"),
    "limit-post": whole("limit_body"),
    "listen": whole("backlog"),
    "l": whole("backlog"),
    "uid": _text("user"),
    "gid": _text("group"),
    "umask": _text("umask"),
    "pidfile": _text("pid_file"),
    "static-map": lambda draft, name, value: draft.put(name, "static", [str(value)]),
    "py-autoreload": lambda draft, name, value: draft.put(name, "reload", True),
    "python-autoreload": lambda draft, name, value: draft.put(name, "reload", True),
    "stats": lambda draft, name, value: draft.put(name, "metrics_bind", address(str(value))),
}
