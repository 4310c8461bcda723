"""Checks and changes before serving: whether this machine can run a configuration, and the user that the application
runs as.
"""

import os
from dataclasses import replace
from typing import Any

from septet import inventory, models
from septet.accounts import Identity, parse_umask
from septet.errors import Failed, UsageError
from septet.net import activation
from septet.net.address import parse_address
from septet.processes import privileges
from septet.processes.capacity import INTERPRETER_BYTES, THREAD_BYTES, why_over_capacity
from septet.settings.config import Config
from septet.settings.mount import parse_mount
from septet.settings.workers import most_workers

RELOADING_S = 2.0
"""Longest graceful time-out in seconds under `--reload`. Answers that last longer, such as endless server-sent
events, are broken off after this time when the code is loaded anew, so that the clients soon begin again with
the new code.
"""


def prepared(config: Config, has_sockets: bool = True) -> Config:
    """Return the configuration with absolute paths, and with descriptor numbers in place of names for sockets that
    a service manager hands over (fd://NAME). Raises UsageError or Failed if this machine, or this user, cannot run
    it.

    `has_sockets` is False if these sockets have not been handed over yet; then the names stay.
    """
    obstacle = models.obstacle(config.model)
    if obstacle:
        raise Failed(f"the model {config.model} cannot run here: {obstacle}")
    _check_capacity(config)
    identity = identity_of(config)
    why_not = identity.why_not() if identity is not None else None
    if why_not:
        option, value = ("--user", config.user) if config.user is not None else ("--group", config.group)
        raise Failed(f"{option} is {value!r}, but {why_not}")
    if has_sockets:
        config = replace(config, bind=activation.with_numbers(config.bind, os.environ))
    if config.reload:
        config = replace(config, graceful_timeout=min(config.graceful_timeout, RELOADING_S))
    return _with_absolute_paths(config)


def _with_absolute_paths(config: Config) -> Config:
    """Return `config` with absolute paths of all files that it names: logs, certificates, keys, the pid file, unix
    sockets. Called before the application is loaded, because the application may change the working directory. Raises
    Failed if there is a relative path, and the working directory was removed.
    """
    one = ("access_log", "span_log", "pid_file", "tls_client_ca", "tls_crl")
    several = ("tls_certificate", "tls_key", "tls_key_password_file")
    try:
        files: dict[str, Any] = {name: os.path.abspath(path) for name in one if (path := getattr(config, name))}
        files |= {name: tuple(map(os.path.abspath, getattr(config, name))) for name in several}
        if config.access_log in ("-", "logger"):
            del files["access_log"]
        if config.metrics_bind is not None:
            files["metrics_bind"] = _absolute(config.metrics_bind)
        if config.control is not None:
            files["control"] = _absolute(f"unix:{config.control}").removeprefix("unix:")
        loaded = [parse_mount(each).directory for each in config.static]
        if config.app is not None or config.mount:
            loaded.append(config.app_dir)
        for directory in loaded:
            os.path.abspath(directory)  # as the process that loads the application does
        return replace(config, bind=tuple(map(_absolute, config.bind)), **files)
    except OSError as error:  # of getcwd(3)
        why = f"the working directory cannot be found: {error.strerror}"
        raise Failed(f"a path of the configuration is relative, and {why}") from error


def _absolute(bind: str) -> str:
    kind, colon, rest = bind.partition(":")
    if kind != "unix" or rest.startswith("@"):
        return bind
    path, mark, rights = rest.partition("?")
    absolute = kind + colon + os.path.abspath(path) + mark + rights
    try:
        parse_address(absolute)
    except ValueError:  # the path is longer than the kernel allows for a unix socket
        return bind
    return absolute


def _check_capacity(config: Config) -> None:
    """Raise UsageError if the configuration asks for more processes and threads than fit on this machine."""
    asked = [f"--{name} {number}" for name in ("workers", "loops", "threads") if (number := getattr(config, name))]
    isolated = inventory.concurrency(config.model) == "interpreters"
    each = INTERPRETER_BYTES if isolated else THREAD_BYTES
    loops = config.loops or 1
    threads = loops * (config.threads or 0) + (loops if loops > 1 else 0)
    why = why_over_capacity(most_workers(config.workers or 1), threads, thread_bytes=each) if asked else None
    if why:
        raise UsageError(f"{' '.join(asked)} is too much for this machine: {why}")


def identity_of(config: Config) -> Identity | None:
    """Return the user and groups that the application is to run as, from `--user` and `--group`; None if neither is
    given.
    """
    return Identity.of(config.user, config.group)


def log_files(config: Config) -> dict[str, str]:
    """Return the log files to which the serving processes write. The keys are what messages call them, such as
    "the access log"; the values are their absolute paths.
    """
    access_log = None if config.access_log in ("-", "logger") else config.access_log
    named = {"the access log": access_log, "the span log": config.span_log}
    return {name: os.path.abspath(path) for name, path in named.items() if path is not None}


def give_logs(config: Config) -> None:
    """Give the log files to the user, named by `--user`, whose processes will write to them; nothing is done
    without `--user` or `--group`. To be called while this process is still root's. Does not raise.
    """
    identity = identity_of(config)
    if identity is not None:
        privileges.give_logs(log_files(config).values(), identity)


def become_user(config: Config, supervisor: int | None = None, makes_logs: bool = True) -> None:
    """Change to the user that `--user` or `--group` names, if one is given. Called after addresses were opened and
    certificates read, and before the application is loaded. Raises Failed.

    `supervisor` is the pid of the parent process with which this process is to end; None: there is none.
    `makes_logs` is False if the log files are not to be made or given to that user.
    """
    identity = identity_of(config)
    if identity is None:
        return
    if makes_logs:
        give_logs(config)
    privileges.drop(identity, supervisor)
    if (config.app is not None or config.mount) and not os.access(os.path.abspath(config.app_dir), os.R_OK | os.X_OK):
        raise Failed(f"--app-dir is {config.app_dir!r}, which user {identity.uid} (--user, --group) cannot read")


_umask_at_start: int | None = None


def set_umask(config: Config) -> None:
    """Set the umask, the rights that files made by this process and by those that it forks do not get. Without
    `--umask` it is set to the value that it had when the server was started.
    """
    global _umask_at_start
    wanted = parse_umask(config.umask) if config.umask is not None else _umask_at_start
    if wanted is not None:
        before = os.umask(wanted)
        _umask_at_start = before if _umask_at_start is None else _umask_at_start
