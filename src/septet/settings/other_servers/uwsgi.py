"""The options of uWSGI that a website uses, by their long names; and groups of the others.

uWSGI has some hundreds of options, many of which belong to plugins. A name that begins with one of GROUPS, and is not
in OPTIONS, belongs to that group.
"""

_STATSD = "use --metrics-bind HOST:PORT, which Prometheus reads"
_NOT_NEEDED = "Septet does that always; there is nothing to set"
_LOG = "messages go to standard error, or where --log-config has them go"
_PROXY_PASS = "HTTP is spoken: use --bind ADDRESS, and let nginx use proxy_pass in place of uwsgi_pass"

OPTIONS = {
    "http http-socket": "use --bind HOST:PORT",
    "https https-socket": "use --bind https://HOST:PORT with --tls-certificate and --tls-key",
    "socket s uwsgi-socket": _PROXY_PASS,
    "fastcgi-socket scgi-socket protocol": _PROXY_PASS,
    "module wsgi w": "give APP",
    "wsgi-file file": "give APP, by the name of its module",
    "callable": "give APP as MODULE:ATTRIBUTE",
    "mount": "use --mount ROUTE=APP",
    "manage-script-name": _NOT_NEEDED,
    "processes workers p": "use --workers N",
    "threads": "use --threads N",
    "enable-threads": _NOT_NEEDED,
    "master M no-orphans": "Septet has a supervisor, unless --no-supervisor is given",
    "chdir": "change to DIR before (cd DIR); --app-dir DIR is only where modules are looked for",
    "pythonpath pp python-path": "use --app-dir DIR, or the variable PYTHONPATH",
    "virtualenv venv home pyhome H": "run the command septet of that environment",
    "harakiri": "use --request-timeout SECONDS",
    "harakiri-verbose": "the log has the stacks of all threads and tasks; there is nothing to set",
    "max-requests": "use --max-requests N",
    "max-requests-delta": "use --max-requests-jitter N",
    "min-worker-lifetime": "the replacement is ready before a process ends; there is nothing to set",
    "max-worker-lifetime": "use --max-worker-age SECONDS",
    "reload-on-rss evil-reload-on-rss": "use --max-worker-memory SIZE",
    "reload-on-as evil-reload-on-as limit-as": "use --max-worker-memory SIZE, or a limit of the control group",
    "worker-reload-mercy reload-mercy": "use --graceful-timeout SECONDS",
    "buffer-size": "use --limit-header-block BYTES",
    "post-buffering post-buffering-bufsize": "under poll, epoll and io_uring a body is collected before a WSGI "
    "application is called",
    "limit-post": "use --limit-body BYTES",
    "listen l": "use --backlog N",
    "uid": "use --user NAME",
    "gid": "use --group NAME",
    "umask": "use --umask MODE",
    "chmod-socket": "use --bind unix:PATH?mode=660",
    "chown-socket": "use --bind unix:PATH?group=NAME",
    "pidfile pidfile2 safe-pidfile safe-pidfile2": "use --pid-file FILE",
    "daemonize daemonize2 d": "that is for a service manager, such as systemd",
    "logto logto2 logger log-master log-maxsize logdate log-date log-reopen": _LOG,
    "req-logger log-format log-format-strftime": "use --access-log FILE and --access-log-format",
    "disable-logging L": "there is no access log without --access-log",
    "log-x-forwarded-for": "use --forwarded-allow-ips PEERS",
    "vacuum": "a unix socket is removed at the end; there is nothing to set",
    "die-on-term": "TERM stops the server; there is nothing to set",
    "lazy-apps lazy": "the application is always loaded before the workers are started, and anew at HUP",
    "single-interpreter i need-app strict thunder-lock ignore-sigpipe ignore-write-errors "
    "disable-write-exception so-keepalive tcp-nodelay http-keepalive close-on-exec": _NOT_NEEDED,
    "py-call-osafterfork": _NOT_NEEDED,
    "static-map static-map2": "use --static ROUTE=DIR",
    "check-static static-index": "use --static ROUTE=DIR, which is asked before the application",
    "static-expires": "use --static-cache-control TEXT",
    "offload-threads": "files are always sent by sendfile(2)",
    "py-autoreload python-autoreload py-auto-reload": "use --reload",
    "touch-reload touch-chain-reload touch-workers-reload": "send HUP, or use septet control reload",
    "master-fifo": "use --control PATH",
    "env": "set the variables before, or by Environment= of systemd",
    "cheaper cheaper-initial cheaper-step cheaper-algo": "use --workers N",
    "stats stats-server stats-http": _STATSD,
    "http-timeout socket-timeout": "use --header-timeout, --body-timeout and --write-timeout",
    "add-header": "the application or a proxy adds fields",
    "procname auto-procname procname-prefix procname-prefix-spaced procname-append procname-master": "a process has "
    "the name of its command; a service manager has names for services",
    "plugin plugins need-plugin need-plugins plugins-dir": "there are no plugins",
    "import pyimport shared-import shared-pyimport": "import it in the module of the application",
    "attach-daemon attach-daemon2 smart-attach-daemon": "a service manager runs other programs",
    "gevent async ugreen asyncio greenlet gevent-monkey-patch loop": "use --model; `septet models` lists them",
    "memory-report": _STATSD,
    "emperor vassals-dir": "one service for each application, by a service manager; or --mount",
}
"""What to use instead of each option of uWSGI, by the option's names, separated by blanks."""

GROUPS = {
    "route": "routing by rules is for a proxy in front",
    "cache": "caches are for a proxy in front, or for the application",
    "spool": "there are no workers for tasks: use a queue of tasks, such as Celery",
    "mule": "there are no workers for tasks: use a queue of tasks, such as Celery",
    "farm": "there are no workers for tasks: use a queue of tasks, such as Celery",
    "cron": "timers are for cron or systemd",
    "hook": "there are no hooks: a service manager has ExecStartPre= and its like",
    "exec": "there are no hooks: a service manager has ExecStartPre= and its like",
    "emperor": "one service for each application, by a service manager; or --mount",
    "vassal": "one service for each application, by a service manager; or --mount",
    "cheaper": "use --workers N",
    "log": _LOG,
    "carbon": _STATSD,
    "snmp": _STATSD,
    "stats": _STATSD,
    "static": "use --static ROUTE=DIR",
    "cgroup": "limits are for a service manager, such as systemd",
    "http": "HTTP is spoken by the server itself: see --bind, and the limits and deadlines",
    "ssl": "use --tls-certificate FILE and its like",
    "fastrouter": "use a proxy in front, such as nginx",
    "subscri": "use a proxy in front, such as nginx",
    "legion": "use a cluster manager",
    "websocket": "WebSockets are for ASGI applications: see --ws",
}
"""What to use instead of all options of uWSGI whose names begin with these words, if OPTIONS lacks them."""
