"""Checks of a configuration: each value by the rule of its option, and several values together by the rules here.

A wrong value raises UsageError, with one sentence that names the value's source. A value that has no effect is not an
error; `hints` warns of it.
"""

from collections.abc import Mapping
from typing import NoReturn

from septet import inventory
from septet.accounts import Identity
from septet.errors import UsageError
from septet.interpreter import gil_state, has_gil
from septet.net.address import SPELLINGS, parse_address
from septet.proxies.trust import parse_peers
from septet.settings.config import OPTIONS, Config
from septet.settings.mount import parse_application_mount, parse_mount


def check(config: Config, names: Mapping[str, str] | None = None) -> None:
    """Raise UsageError unless every value, and all of them together, are allowed.

    `names` maps a field to the name that error messages use, which tells the source of its value ("SEPTET_WORKERS",
    "septet.toml:3: workers"). A field that it lacks is called by its option, "--workers".
    """
    called = {each.name: each.flag for each in OPTIONS} | dict(names or {})
    for each in OPTIONS:
        value = getattr(config, each.name)
        for one in value if each.kind is tuple else (value,):
            try:
                each.check(one)
            except ValueError as error:
                refuse(called[each.name], one, error)
    for rule in _RULES:
        rule(config, called)


def check_serves_something(config: Config) -> None:
    """Raise UsageError if there is neither an application nor a directory.

    Not part of `check`, because `--print-config` is useful without either.
    """
    if config.app is None and not config.mount and not config.static:
        raise UsageError(
            "there is nothing to serve: APP (MODULE:ATTRIBUTE), --mount ROUTE=APP, --static ROUTE=DIR or several of "
            "them must be given"
        )


def refuse(called: str, value: object, why: ValueError) -> NoReturn:
    """Raise UsageError for a wrong value: "CALLED is VALUE, but WHY", where the text of `why` begins with "must be"."""
    raise UsageError(f"{called} is {value!r}, but {why}") from None


def _workers_fit(config: Config, called: Mapping[str, str]) -> None:
    if config.workers is not None and "workers" not in inventory.takes(config.model):
        raise UsageError(
            f"{called['workers']} is {config.workers}, but must be left out with the model {config.model}, "
            "which decides the number of its processes"
        )


def _threads_fit(config: Config, called: Mapping[str, str]) -> None:
    if config.threads is not None and "threads" not in inventory.takes(config.model):
        pools = [name for name in inventory.names() if "threads" in inventory.takes(name)]
        raise UsageError(
            f"{called['threads']} is {config.threads}, but must be left out with the model {config.model}: "
            f"only {', '.join(pools)} have a pool of threads"
        )
    if config.threads == 0 and not inventory.has_loop(config.model):
        raise UsageError(
            f"{called['threads']} is 0, but must be at least 1 with the model {config.model}, whose threads serve"
        )


def _loops_fit(config: Config, called: Mapping[str, str]) -> None:
    if config.loops is None:
        return
    if not inventory.has_loop(config.model):
        looping = [name for name in inventory.names() if inventory.has_loop(name)]
        raise UsageError(
            f"{called['loops']} is {config.loops}, but must be left out with the model {config.model}: "
            f"only {', '.join(looping)} serve on event loops"
        )
    if config.loops > 1 and has_gil():
        raise UsageError(
            f"{called['loops']} is {config.loops}, but must be 1: this Python {gil_state()}. "
            f"{called['workers']} {config.loops} uses as many CPUs"
        )


def _processes_can_be_replaced(config: Config, called: Mapping[str, str]) -> None:
    """Raise UsageError for limits on a process's requests, memory, age or silence if there is neither a supervisor nor
    workers, so that nothing could replace the process.
    """
    for name in ("max_requests", "max_worker_memory", "max_worker_age", "worker_timeout"):
        value = getattr(config, name)
        if value and not (config.supervisor or config.workers or inventory.concurrency(config.model) == "processes"):
            raise UsageError(
                f"{called[name]} is {value}, but must be left out without a supervisor and without workers: "
                "there is no process that could replace this one"
            )
    if config.max_requests and "workers" not in inventory.takes(config.model):
        raise UsageError(
            f"{called['max_requests']} is {config.max_requests}, but must be left out with the model {config.model}, "
            "whose processes end with their client"
        )


def _requests_can_be_watched(config: Config, called: Mapping[str, str]) -> None:
    # sys._current_frames takes references to the frames of all interpreters, whose locks it does not hold (3.13).
    if config.request_timeout and inventory.concurrency(config.model) == "interpreters":
        raise UsageError(
            f"{called['request_timeout']} is {config.request_timeout:g}, but must be left out with the model "
            f"{config.model}: Python cannot tell what a thread does without touching those of other interpreters"
        )


def _reloading_has_a_supervisor(config: Config, called: Mapping[str, str]) -> None:
    if config.reload and not config.supervisor:
        raise UsageError(f"{called['reload']} is on, but needs the supervisor, and {called['supervisor']} is off")


def _user_has_a_group(config: Config, called: Mapping[str, str]) -> None:
    try:
        Identity.of(config.user, config.group)
    except ValueError as error:
        raise UsageError(f"{called['user']} is {config.user!r}, but {error}") from None


def _metrics_fit(config: Config, called: Mapping[str, str]) -> None:
    if config.metrics_interval and "workers" not in inventory.takes(config.model):
        raise UsageError(
            f"{called['metrics_interval']} is {config.metrics_interval:g}, but must be left out with the model "
            f"{config.model}, whose processes end with their client"
        )


def _listens_somewhere(config: Config, called: Mapping[str, str]) -> None:
    if not config.bind:
        raise UsageError(f"{called['bind']} is empty, but must be at least one of {SPELLINGS}")
    seen: set[tuple[object, ...]] = set()
    for text in config.bind:
        address = parse_address(text)
        place = address.kind, address.host.lower(), address.port, address.path, address.fd, address.name
        if place in seen and (address.kind != "tcp" or address.port):
            raise UsageError(f"{called['bind']} has the address of {text!r} twice, but each must be given once")
        seen.add(place)


def _routes_differ(config: Config, called: Mapping[str, str]) -> None:
    routes = [(parse_application_mount(text).route + "/", "mount") for text in config.mount]
    given_by: dict[str, str] = {}
    for route, name in routes + [(parse_mount(text).route, "static") for text in config.static]:
        other = given_by.get(route)
        if other is not None:
            how = "more than once" if other == name else f"as {called[other]} does"
            raise UsageError(f"{called[name]} gives {route} {how}, but each ROUTE must be given once")
        given_by[route] = name


def no_proxy_is_trusted(config: Config) -> bool:
    """True if `--forwarded-allow-ips` is "none": what proxies say about their clients is not believed."""
    return {word for text in config.forwarded_allow_ips for word in parse_peers(text)} <= {"none"}


def _proxies_are_named(config: Config, called: Mapping[str, str]) -> None:
    words = [word for text in config.forwarded_allow_ips for word in parse_peers(text)]
    if "none" in words and len(words) > 1:
        raise UsageError(f"{called['forwarded_allow_ips']} has none beside others, but none must stand alone")
    if config.proxy_protocol and no_proxy_is_trusted(config):
        raise UsageError(
            f"{called['proxy_protocol']} is on, but no proxy is trusted: "
            f"{called['forwarded_allow_ips']} must name the proxy"
        )


def _keys_fit(config: Config, called: Mapping[str, str]) -> None:
    certificates, keys, passwords = config.tls_certificate, config.tls_key, config.tls_key_password_file
    if keys and certificates and len(keys) != len(certificates):
        times = "once" if len(keys) == 1 else f"{len(keys)} times"
        wanted = "once" if len(certificates) == 1 else f"once for each of the {len(certificates)} certificates"
        raise UsageError(
            f"{called['tls_key']} is given {times}, but must be given {wanted}, or not at all if the files of "
            "certificates hold their keys"
        )
    if len(passwords) > 1 and len(passwords) != len(keys or certificates):
        raise UsageError(
            f"{called['tls_key_password_file']} is given {len(passwords)} times, but must be given once, or once for "
            f"each of the {len(keys or certificates)} keys"
        )


def _tls_is_complete(config: Config, called: Mapping[str, str]) -> None:
    for text in config.bind:
        if parse_address(text).tls and not config.tls_certificate:
            raise UsageError(f"{called['bind']} is {text!r}, but must go with {called['tls_certificate']}")
    if config.tls_client_auth != "none" and not config.tls_client_ca:
        raise UsageError(
            f"{called['tls_client_auth']} is {config.tls_client_auth!r}, but must go with {called['tls_client_ca']}, "
            "which says whose clients are accepted"
        )


_RULES = (
    _workers_fit,
    _threads_fit,
    _loops_fit,
    _processes_can_be_replaced,
    _requests_can_be_watched,
    _reloading_has_a_supervisor,
    _user_has_a_group,
    _metrics_fit,
    _listens_somewhere,
    _routes_differ,
    _proxies_are_named,
    _keys_fit,
    _tls_is_complete,
)
