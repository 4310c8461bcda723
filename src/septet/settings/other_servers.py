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
    "t timeout": "use --request-timeout for applications, --worker-timeout for workers, and --header-timeout, "
    "--body-timeout and --write-timeout for clients",
    "keep-alive timeout-keep-alive": "use --keep-alive-timeout SECONDS",
    "timeout-graceful-shutdown workers-graceful-timeout workers-kill-timeout": "use --graceful-timeout SECONDS",
    "reload-paths": "use --reload --reload-dir DIR",
    "reload-excludes reload-ignore-dirs reload-ignore-patterns": "use --reload-exclude PATTERN",
    "preload": "the application is always loaded before the workers are started, and anew at HUP",
    "access-logfile": "use --access-log FILE",
    "error-logfile log-file": "messages go to standard error",
    "log-config-json": "use --log-config FILE.json",
    "access-logformat access-log-fmt": "use --access-log-format, which understands gunicorn's atoms",
    "header": "--server-header and --date-header are the server's own; the application or a proxy adds others",
    "http http2": "HTTP/1.1 is spoken, by one parser; a proxy in front speaks HTTP/2",
    "no-ws websockets": "use --ws auto or --ws none",
    "lifespan": "an ASGI application that has a lifespan gets it; there is nothing to set",
    "metrics-address metrics-port": "use --metrics-bind HOST:PORT",
    "health health-check": "use --metrics-bind, which answers /healthz and /readyz",
    "n name process-name": "a process has the name of its command; a service manager has names for services",
    "m": "use --umask OCTAL",
    "root-path url-path-prefix": "the application sets its own prefix, such as FastAPI's root_path, or a proxy "
    "takes it off",
    "env-file env-files": "set the variables before (set -a; . FILE), or by EnvironmentFile= of systemd",
    "reuse-port": "it is not needed: --workers share one listening socket",
    "chdir working-dir": "change to DIR before (cd DIR); --app-dir DIR is only where modules are looked for",
    "pythonpath": "use --app-dir DIR, or the variable PYTHONPATH",
    "c": "use --config FILE",
    "call": "use --factory",
    "proxy-headers no-proxy-headers": "use --forwarded-allow-ips",
    "limit-max-requests": "use --max-requests N",
    "limit-max-requests-jitter": "use --max-requests-jitter N",
    "workers-lifetime": "use --max-worker-age SECONDS",
    "workers-max-rss": "use --max-worker-memory SIZE",
    "ssl-certfile ssl-certificate certfile": "use --tls-certificate FILE",
    "ssl-keyfile keyfile": "use --tls-key FILE",
    "ssl-keyfile-password keyfile-password": "use --tls-key-password-file FILE",
    "ssl-ca-certs ca-certs ssl-ca": "use --tls-client-ca FILE",
    "ssl-cert-reqs cert-reqs verify-mode ssl-client-verify": "use --tls-client-auth",
    "ssl-crl": "use --tls-crl FILE",
    "ssl-ciphers ciphers": "use --tls-ciphers",
    "ssl-version ssl-protocol-min": "use --tls-min-version",
    "p pid pidfile": "use --pid-file FILE",
    "u": "use --user USER",
    "g": "use --group GROUP",
    "initgroups": "--user USER comes with all groups of the user",
    "uds-perms unix-socket-perms": "use --bind 'unix:PATH?mode=660'",
    "check-config": "use --check",
    "D daemon": "that is for a service manager, such as systemd",
}
_HINTS = {name: hint for names, hint in _HERE.items() for name in names.split()}


def hint(name: str) -> str:
    """Return the hint for another server's option: what to use in its place. Empty for any other name.

    `name` is as written on a command line (with or without dashes), in a file or, without SEPTET_, in the environment.
    """
    bare = name.lstrip("-").replace("_", "-")
    return _HINTS.get(bare if len(bare) == 1 else bare.lower(), "")
