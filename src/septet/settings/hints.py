"""What is said at the start of a configuration that is allowed, but perhaps not what somebody meant.

None of it is refused. An option without effect does no harm, and a settings file may serve two servers of which one has
no use for it. A variable may be somebody else's: that it begins with SEPTET_ does not make it ours.
"""

import re
from collections.abc import Iterator, Mapping

from septet import inventory
from septet.settings.checks import no_proxy_is_trusted
from septet.settings.config import OPTIONS, Config
from septet.settings.options import did_you_mean
from septet.settings.other_servers import hint

_PREFIX = "SEPTET_"
_KNOWN = {option.variable.removeprefix(_PREFIX) for option in OPTIONS} | {"CONFIG"}

_of_kubernetes = re.compile(r"(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT\w*|PORT_[0-9]+_[A-Z]+\w*)").fullmatch
"""What it sets in every container for each service, by the service's name: SEPTET_SERVICE_HOST for one called septet,
SEPTET_WEB_PORT_80_TCP for septet-web. Its SEPTET_PORT is told by its value."""

_CLOSE = 0.75
"""difflib's ratio: WROKERS is as close to WORKERS as 0.86, and HEADER to HEADER_TIMEOUT, which may be anything, 0.6."""


def of_environment(environ: Mapping[str, str]) -> Iterator[str]:
    """Variables that are no options, but look like one of ours or of another server's."""
    for variable, value in environ.items():
        name = variable.removeprefix(_PREFIX)
        if name == variable or name in _KNOWN or _of_kubernetes(name) or value.startswith("tcp://"):
            continue
        instead = f" ({cure})" if (cure := hint(name)) else did_you_mean(name, _KNOWN, _PREFIX, _CLOSE)
        if instead:
            yield f"the variable {variable} is not an option, and has no effect{instead}"


def of_config(config: Config, called: Mapping[str, str]) -> Iterator[str]:
    """Options that have no effect beside the others; `called` has what to call each."""
    for option in OPTIONS:
        if option.needs and getattr(config, option.name) != option.default and not getattr(config, option.needs):
            needed = next(other for other in OPTIONS if other.name == option.needs)
            yield f"{called[option.name]} has no effect without {needed.flag}"
    if config.forwarded_fields != Config().forwarded_fields and no_proxy_is_trusted(config):
        yield f"{called['forwarded_fields']} has no effect, for {called['forwarded_allow_ips']} is none"


def of_application(config: Config, kind: str) -> Iterator[str]:
    """Options that mean nothing to an application that speaks `kind`, "wsgi" or "asgi"."""
    if config.asgi_extensions != Config().asgi_extensions and kind == "wsgi":
        yield "--asgi-extensions has no effect, for the application speaks WSGI"
    if config.threads is not None and kind == "asgi" and inventory.has_loop(config.model):
        yield (
            f"--threads is {config.threads}, but under {config.model} an ASGI application runs on the loop: "
            "it has no effect"
        )
