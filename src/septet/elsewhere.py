"""What other servers' options are here: for whoever comes from uvicorn, gunicorn, hypercorn, granian or waitress.

Words for a sentence and nothing more: an option has one name, and a second one would be one more to explain.
"""

_HERE = {
    "host port p b listen": "use --bind HOST:PORT",
    "uds unix-socket": "use --bind unix:PATH",
    "fd": "use --bind fd://N",
    "w processes": "use --workers N",
    "k worker-class": "use --model; `septet models` lists them",
    "loop": "the model decides; `septet models` lists them",
    "worker worker-connections": "use --workers, --threads and --limit-concurrency",
    "blocking-threads": "use --threads N",
    "t timeout": "clients have --header-timeout, --body-timeout and --write-timeout; the application has none",
    "keep-alive timeout-keep-alive": "use --keep-alive-timeout SECONDS",
    "timeout-graceful-shutdown workers-kill-timeout": "use --graceful-timeout SECONDS",
    "reload reload-dir": "start it with a program that watches files, such as watchfiles",
    "preload": "the application is always loaded before the workers are started",
    "access-logfile": "use --access-log FILE",
    "error-logfile log-file": "messages go to standard error",
    "chdir working-dir pythonpath": "use --app-dir DIR",
    "call": "use --factory",
    "proxy-headers no-proxy-headers": "use --forwarded-allow-ips",
    "max-requests limit-max-requests": "workers go on until they are told to stop",
    "ssl-keyfile ssl-certfile ssl-certificate certfile keyfile": "a proxy in front speaks TLS",
    "D daemon pid pidfile user u group g": "that is for a service manager, such as systemd",
}
_HINTS = {name: hint for names, hint in _HERE.items() for name in names.split()}


def hint(name: str) -> str:
    """What to do instead of using another server's option, or nothing; `name` as it stands on a command line (with or
    without dashes), in a file or, without its SEPTET_, in the environment."""
    bare = name.lstrip("-").replace("_", "-")
    return _HINTS.get(bare if len(bare) == 1 else bare.lower(), "")
