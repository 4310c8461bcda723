"""`septet serve --check`: everything that a start does short of serving, so that a mistake is found before a restart.

The configuration is read, certificates and keys are loaded, the user is changed and the application is imported, by the
functions that a start uses: so a mistake ends the command with the sentence and the exit status with which a start
would end. Nothing is bound, no log is made (but those of `--log-config`), no process is started, and lifespan is not
run. What only another moment can tell is not looked at: whether an address is free, and whether the server of a pid
file still runs.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import click

from septet import forked
from septet.apps.loading import shows_its_routes
from septet.apps.site import Site
from septet.errors import Failed
from septet.logs import configure
from septet.models.preforked import default_workers
from septet.net.address import Address, parse_address, speaks_tls
from septet.net.certificates import Certificates
from septet.net.listener import cannot_listen, check_directory, check_place
from septet.preparation import become_user, identity_of, log_files, prepared
from septet.processes.children import exit_despite_threads
from septet.processes.privileges import gives_log
from septet.processes.reload import check_installed
from septet.service import tls_options
from septet.settings.config import Config
from septet.settings.workers import most_workers
from septet.sites import load_site

log = logging.getLogger("septet")


def check(config: Config, said: Iterable[str] = ()) -> int:
    """Print one line about what would be served with this configuration, and return 0, the exit status. `said`:
    warnings about the configuration, which are logged. Raises UsageError and Failed, as a start would.
    """
    configure(config.log_level, config.log_format, config.log_config)
    for remark in said:
        log.warning("%s", remark)
    config = prepared(config, has_sockets=False)
    forked.mark_as_server()
    if config.tls_certificate:
        Certificates(tls_options(config))
    if config.reload:
        check_installed()
    addresses = [parse_address(text) for text in config.bind]
    _check_places(config, addresses)
    identity = identity_of(config)
    given = {path for path in log_files(config).values() if identity is not None and gives_log(path, identity)}
    become_user(config, makes_logs=False)
    for name, path in log_files(config).items():
        _check_log(name, path, path in given)
    site = load_site(replace(config, span_log=None))
    for remark in _of_websockets(config, site):
        log.warning("%s", remark)
    if forked.by_application:
        forked.exit_child()
    click.echo(f"septet: the configuration is valid: {_served(config, site)} at {_shown(config, addresses)}")
    exit_despite_threads(0, finish_jobs=False)
    return 0


def _check_places(config: Config, addresses: Sequence[Address]) -> None:
    """Raise Failed unless the sockets of `addresses`, the other unix sockets that options name, and the pid file can be
    made where they are to be.
    """
    named = [("--bind", address) for address in addresses]
    if config.metrics_bind is not None:
        named.append(("--metrics-bind", parse_address(config.metrics_bind)))
    if config.control is not None:
        named.append(("--control", parse_address(f"unix:{config.control}")))
    for option, address in named:
        try:
            check_place(address)
        except OSError as error:
            raise cannot_listen(error, address, option) from error
    if config.pid_file is not None:
        try:
            check_directory(config.pid_file)
        except OSError as error:
            raise Failed(f"--pid-file {config.pid_file!r} cannot be written: {error.strerror}") from error


def _check_log(name: str, path: str, given: bool) -> None:
    """Raise Failed unless this process can write a log at this path; a missing file is not made. `name`: what the error
    calls the log. `given`: True if a start would make the file as root and give it to the user of this process; then
    only its directory must be reachable.
    """
    try:
        if given:
            os.stat(os.path.join(os.path.dirname(path), "."))  # the user must reach it
            return
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC))
        except FileNotFoundError:
            check_directory(path)
    except OSError as error:
        raise Failed(f"cannot write {name} {path}: {error.strerror}") from error


def _of_websockets(config: Config, site: Site) -> Iterator[str]:
    """Yield a warning if the library for WebSockets is missing, and an ASGI application may have some. A start says so
    only when a client asks for one, unless the application shows its routes.
    """
    for asgi in site.asgis:
        if config.ws == "auto" and asgi.no_websocket and not shows_its_routes(asgi.application):
            yield f"the ASGI application is offered no WebSockets: {asgi.no_websocket}; --ws none says that it has none"


def _served(config: Config, site: Site) -> str:
    """Return in words what is served, for the line that --check prints: the applications as the options name them, with
    their interfaces, and the directories of static files.
    """
    kinds = ["WSGI"] * site.has_wsgi + ["ASGI"] * bool(site.asgis)
    applications = [*((config.app,) if config.app is not None else ()), *config.mount]
    interfaces = f" ({', '.join(kinds)})" if kinds else ""
    return ", ".join([*filter(None, [", ".join(applications) + interfaces]), *config.static])


def _shown(config: Config, addresses: Sequence[Address]) -> str:
    """Return in words where and how the application is served, for the line that --check prints: the addresses, written
    as in the line that a server prints when it is ready, the model, the number of workers, and the user if one is
    given.
    """
    certified = bool(config.tls_certificate)
    at = [replace(address, tls=certified and speaks_tls(address, addresses)) for address in addresses]
    how = [config.model]
    count = config.workers or (default_workers() if config.model == "preforked" else 1)
    how.append(f"{count} worker{'s' if most_workers(count) > 1 else ''}")
    if config.user is not None:
        how.append(f"as user {config.user}")
    return f"{', '.join(map(str, at))} ({', '.join(how)})"
