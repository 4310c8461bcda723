"""The tables of the pages for those who come from another server: each of its options, and what to use in its place."""

import re
from importlib import import_module

from septet.settings.other_servers import uwsgi

_VALUE = r"[A-Z]+(?:[=:.][A-Za-z]+)?\b|[a-z]+:[\w:/?=]+|/[A-Z]+|auto|none"
_OPTION = re.compile(rf"(?<![`\w-])(--[a-z][\w-]*(?: (?:{_VALUE}))?)")
"""An option of ours in a sentence, with its value."""


def options(server: str) -> str:
    """The options of a server of SERVERS, as a table."""
    rows = import_module(f"septet.settings.other_servers.{server}").OPTIONS
    lines = [f"| {server} | with Septet |", "|---|---|"]
    lines += [f"| {_names(names)} | {_marked(text)} |" for names, text in rows.items()]
    if server == uwsgi.__name__.rpartition(".")[2]:
        lines += [f"| all others that begin with `{name}` | {_marked(text)} |" for name, text in uwsgi.GROUPS.items()]
    return "\n".join(lines)


def _names(names: str) -> str:
    return ", ".join(f"`{'-' if len(name) == 1 else ''}{name}`" for name in names.split())


def _marked(text: str) -> str:
    """The sentence with our options as code."""
    return _OPTION.sub(r"`\1`", text)
