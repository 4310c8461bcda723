"""Hints for error messages: what to use in place of an option of uvicorn, gunicorn, hypercorn, granian or waitress.

They are no aliases: each option of ours has one name.
"""

_HERE = {
    "host port b listen": "use --bind HOST:PORT",
    "uds unix-socket": "use --bind unix:PATH",
    "fd": "use --bind fd://N",
    "w processes": "use --workers N",
    "k worker-class": "use --model; `septet models` lists them",
    "loop": "the model decides; `septet models` lists them",
    "worker worker-connections": "use --workers, --threads and --limit-concurrency",
    "blocking-threads": "use --threads N",
    "t timeout": "use --header-timeout, --body-timeout and --write-timeout for clients; applications have none",
    "keep-alive timeout-keep-alive": "use --keep-alive-timeout SECONDS",
    "timeout-graceful-shutdown workers-graceful-timeout workers-kill-timeout": "use --graceful-timeout SECONDS",
    "reload reload-dir reload-paths": "start it with a program that watches files, such as watchfiles",
    "preload": "the application is always loaded before the workers are started",
    "access-logfile": "use --access-log FILE",
    "error-logfile log-file": "messages go to standard error",
    "log-config log-config-json": "messages go to standard error, see --log-level; an application may set up the "
    "logger septet",
    "log-format access-logformat access-log-format access-log-fmt": "lines have the common log format and the "
    "microseconds; use --access-log FILE",
    "header": "--server-header and --date-header are the server's own; the application or a proxy adds others",
    "http http2": "HTTP/1.1 is spoken, by one parser; a proxy in front speaks HTTP/2",
    "ws no-ws websockets": "there is no WebSocket yet; a request for one is served as an ordinary request",
    "lifespan": "an ASGI application that has a lifespan gets it; there is nothing to set",
    "health health-check": "give the application a page for it",
    "n name process-name": "a process has the name of its command; a service manager has names for services",
    "m umask": "set it in the shell before (umask 027), or as UMask= of systemd",
    "root-path url-path-prefix": "the application sets its own prefix, such as FastAPI's root_path, or a proxy "
    "takes it off",
    "env-file env-files": "set the variables before (set -a; . FILE), or by EnvironmentFile= of systemd",
    "reuse-port": "it is not needed: --workers share one listening socket",
    "chdir working-dir": "change to DIR before (cd DIR); --app-dir DIR is only where modules are looked for",
    "pythonpath": "use --app-dir DIR, or the variable PYTHONPATH",
    "c": "use --config FILE",
    "call": "use --factory",
    "proxy-headers no-proxy-headers": "use --forwarded-allow-ips",
    "max-requests limit-max-requests workers-lifetime": "workers serve until the server stops",
    "max-requests-jitter limit-max-requests-jitter": "workers serve until the server stops",
    "ssl-certfile ssl-certificate certfile": "use --tls-certificate FILE",
    "ssl-keyfile keyfile": "use --tls-key FILE",
    "ssl-keyfile-password keyfile-password": "use --tls-key-password-file FILE",
    "ssl-ca-certs ca-certs ssl-ca": "use --tls-client-ca FILE",
    "ssl-cert-reqs cert-reqs verify-mode ssl-client-verify": "use --tls-client-auth",
    "ssl-crl": "use --tls-crl FILE",
    "ssl-ciphers ciphers": "use --tls-ciphers",
    "ssl-version ssl-protocol-min": "use --tls-min-version",
    "D daemon p pid pidfile pid-file user u group g": "that is for a service manager, such as systemd",
}
_HINTS = {name: hint for names, hint in _HERE.items() for name in names.split()}


def hint(name: str) -> str:
    """Return the hint for another server's option: what to use in its place. Empty for any other name.

    `name` is as written on a command line (with or without dashes), in a file or, without SEPTET_, in the environment.
    """
    bare = name.lstrip("-").replace("_", "-")
    return _HINTS.get(bare if len(bare) == 1 else bare.lower(), "")
