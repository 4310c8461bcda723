"""Warnings at the start about a configuration that is allowed, but probably not what was meant.

Nothing here is refused. An option without effect does no harm: a settings file may be shared by two servers of which
one has no use for it. A variable that begins with SEPTET_ may belong to another program.
"""

import re
from collections.abc import Iterator, Mapping

from septet import inventory
from septet.net.address import parse_address, speaks_tls
from septet.settings.checks import no_proxy_is_trusted
from septet.settings.config import OPTIONS, Config
from septet.settings.options import did_you_mean
from septet.settings.other_servers import hint

_PREFIX = "SEPTET_"
_KNOWN = {option.variable.removeprefix(_PREFIX) for option in OPTIONS} | {"CONFIG"}

_of_kubernetes = re.compile(r"(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT\w*|PORT_[0-9]+_[A-Z]+\w*)").fullmatch
"""Matches the names of variables, without SEPTET_, that Kubernetes sets in every container for each service, by the
service's name: SEPTET_SERVICE_HOST for a service septet, SEPTET_WEB_PORT_80_TCP for septet-web. Its SEPTET_PORT is
recognised by its value, tcp://...
"""

_CLOSE = 0.75
"""Least ratio of difflib at which a name is taken for a misspelt one: WROKERS and WORKERS have 0.86. HEADER and
HEADER_TIMEOUT, which need not have to do with each other, have 0.6."""


def of_environment(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield warnings about variables that are no options, but look like an option of Septet or of another server."""
    for variable, value in environ.items():
        name = variable.removeprefix(_PREFIX)
        if name == variable or name in _KNOWN or _of_kubernetes(name) or value.startswith("tcp://"):
            continue
        instead = f" ({cure})" if (cure := hint(name)) else did_you_mean(name, _KNOWN, _PREFIX, _CLOSE)
        if instead:
            yield f"the variable {variable} is not an option, and has no effect{instead}"


def of_config(config: Config, called: Mapping[str, str]) -> Iterator[str]:
    """Yield warnings about options that have no effect beside the others. `called` maps a field to the name that the
    warning uses, such as "--tls-key" or "SEPTET_TLS_KEY".
    """
    for option in OPTIONS:
        needed = option.needs.split()
        if needed and getattr(config, option.name) != option.default and not any(getattr(config, n) for n in needed):
            flags = " or ".join(other.flag for other in OPTIONS if other.name in needed)
            yield f"{called[option.name]} has no effect without {flags}"
    addresses = [parse_address(text) for text in config.bind]
    if config.tls_certificate and not any(speaks_tls(each, addresses) for each in addresses):
        yield f"{called['tls_certificate']} has no effect, because {called['bind']} has http:// everywhere"
    if config.tls_client_ca and config.tls_client_auth == "none":
        yield f"{called['tls_client_ca']} has no effect, because {called['tls_client_auth']} is none"
    if config.forwarded_fields != Config().forwarded_fields and no_proxy_is_trusted(config):
        yield f"{called['forwarded_fields']} has no effect, because {called['forwarded_allow_ips']} is none"


def of_application(config: Config, kind: str) -> Iterator[str]:
    """Yield warnings about options that have no effect on an application with this interface ("wsgi" or "asgi")."""
    if config.asgi_extensions != Config().asgi_extensions and kind == "wsgi":
        yield "--asgi-extensions has no effect, because the application speaks WSGI"
    sockets = [option for option in OPTIONS if option.name.split("_")[0] == "ws"]
    if kind == "wsgi" and any(getattr(config, option.name) != option.default for option in sockets):
        yield "the options of WebSockets (--ws...) have no effect, because the application speaks WSGI"
    if config.threads is not None and kind == "asgi" and inventory.has_loop(config.model):
        yield (
            f"--threads is {config.threads}, but under {config.model} an ASGI application runs on the loop: "
            "it has no effect"
        )
