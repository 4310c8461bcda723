"""What to use in place of an option of gunicorn, uvicorn, granian, uWSGI, hypercorn or waitress, or why there is none.

They are no aliases: each option of ours has one name. The tables are complete for the first three, as tests compare
with their own lists of options, and hold what matters of the others. Three places show them: error messages, by `hint`;
the pages "from gunicorn" and so on; and what `septet migrate` says of what it leaves out.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from septet.settings.config import OPTIONS

SERVERS = ("gunicorn", "uvicorn", "granian", "uwsgi")
"""Those that have a table here, and a page of the documentation. Where two of them have an option of the same name, and
mean different things, `hint` takes the first."""

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
"""Options of hypercorn and waitress, and what people write by habit."""


@cache
def table(server: str) -> Mapping[str, str]:
    """The options of a server of SERVERS, by every name that they have, without dashes at the beginning and with dashes
    for underscores; and what to use in place of each."""
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
