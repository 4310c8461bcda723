"""For each option of gunicorn, uvicorn, granian, uWSGI, hypercorn and waitress: the option of Septet to use instead, or
why there is none.

These names are not accepted as options: each option of Septet has one name. The tables of gunicorn, uvicorn and granian
are complete, which tests check against those servers; the others have the common options. Three places show the tables:
error messages, by `hint`; the documentation's pages "from gunicorn" and so on; and `septet migrate`, for settings that
it leaves out.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from septet.settings.config import OPTIONS

SERVERS = ("gunicorn", "uvicorn", "granian", "uwsgi")
"""The servers that have a table and a page of the documentation. If an option's name means different things in two of
them, `hint` uses the first.
"""

_OTHERS = {
    "call": "use --factory",
    "listen": "use --bind HOST:PORT",
    "unix-socket": "use --bind unix:PATH",
    "keyfile-password": "use --tls-key-password-file FILE",
    "verify-mode": "use --tls-client-auth",
    "websockets": "use --ws auto or --ws none",
    "health health-check": "use --metrics-bind, which answers /healthz and /readyz",
    "worker": "use --workers, --threads and --limit-concurrency",
    "keep-alive": "use --keep-alive-timeout SECONDS",
    "metrics-address metrics-port": "use --metrics-bind HOST:PORT",
    "script-name": "use --root-path /PREFIX",
    "env-file": "set the variables before (set -a; . FILE), or by EnvironmentFile= of systemd",
}
"""For options of hypercorn and waitress, and names that people type by habit: what to use instead."""


@cache
def table(server: str) -> Mapping[str, str]:
    """Return what to use in Septet instead of each option of `server`, which is one of SERVERS. The keys are all names
    of each option, without leading dashes and with `-` in place of `_`.
    """
    rows: Mapping[str, str] = import_module(f"{__name__}.{server}").OPTIONS
    return {name: text for names, text in rows.items() for name in names.split()}


def hint(name: str) -> str:
    """Return the hint for another server's option: what to use in its place. Empty for any other name, and for one that
    is also an option of ours.

    `name` is as written on a command line (with or without dashes), in a file or, without SEPTET_, in the environment.
    """
    bare = name.lstrip("-").replace("_", "-")
    bare = bare if len(bare) == 1 else bare.lower()
    if bare.replace("-", "_") in {option.name for option in OPTIONS}:
        return ""
    for server in SERVERS:
        if bare in table(server):
            return table(server)[bare]
    others = {name: text for names, text in _OTHERS.items() for name in names.split()}
    return others.get(bare, "")
