"""The settings of gunicorn, by the names in gunicorn.conf.py and on its command line, and what to use in Septet instead
of each.
"""

_HOOK = "there are no hooks: a module of yours can do it when it is imported, or in its ASGI lifespan"
_HOOK_OF_WORKER = (
    "there are no hooks: the application is imported before its workers are forked, so do it at the first request, or "
    "in its ASGI lifespan"
)
_HOOK_AT_END = "there are no hooks: atexit, or the end of its ASGI lifespan, do it at the end of each worker"
_PARSER = "requests are parsed strictly, by one parser; see the page about strictness"
_HTTP2 = "HTTP/1.1 is spoken, by one parser; a proxy in front speaks HTTP/2"
_DIRTY = "there are no workers for tasks: use a queue of tasks, such as Celery"
_LOG = "use --log-config FILE"
_STATSD = "use --metrics-bind, which Prometheus reads, and statsd by its exporter"

OPTIONS = {
    "config c": "use --config FILE",
    "wsgi-app": "give APP",
    "bind b": "use --bind HOST:PORT",
    "backlog": "use --backlog N",
    "workers w": "use --workers N",
    "worker-class k": "use --model; `septet models` lists them",
    "threads": "use --threads N",
    "worker-connections": "use --workers, --threads and --limit-concurrency",
    "max-requests": "use --max-requests N",
    "max-requests-jitter": "use --max-requests-jitter N",
    "timeout t": "use --request-timeout for applications, --worker-timeout for workers, and --header-timeout, "
    "--body-timeout and --write-timeout for clients",
    "graceful-timeout": "use --graceful-timeout SECONDS",
    "keepalive keep-alive": "use --keep-alive-timeout SECONDS",
    "limit-request-line": "use --limit-request-line BYTES",
    "limit-request-fields": "use --limit-header-count N",
    "limit-request-field-size": "use --limit-header-block BYTES, which bounds all fields together",
    "reload": "use --reload",
    "reload-engine": "watchfiles is used, which asks the kernel",
    "reload-extra-files reload-extra-file": "use --reload-include PATTERN and --reload-dir DIR; files .py and .toml "
    "always count",
    "spew": "there is no such trace; `septet trace` draws who runs and who waits",
    "check-config": "use --check",
    "print-config": "use --print-config",
    "preload-app preload": "the application is always loaded before the workers are started, and anew at HUP",
    "sendfile no-sendfile": "files are always sent by sendfile(2)",
    "reuse-port": "it is not needed: --workers share one listening socket",
    "chdir": "change to DIR before (cd DIR); --app-dir DIR is only where modules are looked for",
    "daemon D": "that is for a service manager, such as systemd",
    "raw-env env e": "set the variables before, or by Environment= of systemd",
    "pidfile pid p": "use --pid-file FILE",
    "worker-tmp-dir": "workers beat in shared memory, and need no file",
    "user u": "use --user NAME",
    "group g": "use --group NAME",
    "umask m": "use --umask MODE",
    "initgroups": "--user takes the groups of the user as well",
    "tmp-upload-dir": "set the variable TMPDIR",
    "secure-scheme-headers": "X-Forwarded-Proto and Forwarded are read from proxies that --forwarded-allow-ips names",
    "forwarded-allow-ips": "use --forwarded-allow-ips PEERS",
    "accesslog access-logfile": "use --access-log FILE",
    "disable-redirect-access-to-syslog": "the access log goes to its file alone, unless --access-log is logger",
    "access-log-format access-logformat": "use --access-log-format, which understands gunicorn's atoms",
    "errorlog error-logfile log-file": "messages go to standard error, or where --log-config has them go",
    "loglevel log-level": "use --log-level LEVEL",
    "capture-output": "what the application prints goes where Septet's standard output and error go",
    "logger-class": _LOG,
    "logconfig log-config": "use --log-config FILE, in TOML or JSON",
    "logconfig-dict": "use --log-config FILE",
    "logconfig-json log-config-json": "use --log-config FILE.json",
    "syslog-addr log-syslog-to syslog log-syslog syslog-prefix log-syslog-prefix syslog-facility "
    "log-syslog-facility": "use --log-config FILE with logging.handlers.SysLogHandler, and --access-log logger",
    "enable-stdio-inheritance R": "standard output and error are always inherited",
    "statsd-host dogstatsd-tags statsd-prefix enable-backlog-metric": _STATSD,
    "proc-name name n default-proc-name": "a process has the name of its command; a service manager has names for "
    "services",
    "pythonpath": "use --app-dir DIR, or the variable PYTHONPATH",
    "paste paster paste-global raw-paste-global-conf": "write a module that makes the application of the PasteDeploy "
    "file (paste.deploy.loadapp), and give that as APP",
    "on-starting on-reload when-ready pre-fork worker-int worker-abort pre-exec pre-request post-request "
    "nworkers-changed on-exit": _HOOK,
    "post-fork post-worker-init": _HOOK_OF_WORKER,
    "child-exit worker-exit": _HOOK_AT_END,
    "ssl-context": "there are no hooks: --tls-min-version and --tls-ciphers set what can be set",
    "proxy-protocol": "use --proxy-protocol",
    "proxy-allow-ips proxy-allow-from": "use --forwarded-allow-ips PEERS, which is for the PROXY protocol as well",
    "protocol uwsgi-allow-ips uwsgi-allow-from": "HTTP is spoken: let nginx use proxy_pass in place of uwsgi_pass",
    "keyfile": "use --tls-key FILE",
    "certfile": "use --tls-certificate FILE",
    "ssl-version": "use --tls-min-version",
    "cert-reqs": "use --tls-client-auth",
    "ca-certs": "use --tls-client-ca FILE",
    "suppress-ragged-eofs do-handshake-on-connect": "there is nothing to choose: handshakes have a deadline, "
    "--tls-handshake-timeout, and hold nobody up",
    "ciphers": "use --tls-ciphers",
    "http-protocols http2-cleartext http2-max-concurrent-streams http2-initial-window-size http2-max-frame-size "
    "http2-max-header-list-size": _HTTP2,
    "permit-obsolete-folding strip-header-spaces permit-unconventional-http-method "
    "permit-unconventional-http-version casefold-http-method http-parser": _PARSER,
    "forwarder-headers": "no header field sets variables of the environment: use --root-path in place of SCRIPT_NAME",
    "header-map": "use --underscore-headers",
    "asgi-loop": "the model decides; `septet models` lists them",
    "asgi-lifespan": "an ASGI application that has a lifespan gets it; there is nothing to set",
    "asgi-disconnect-grace-period": "the application is told when its client has left, and goes on as it likes",
    "websocket-max-message-size": "use --ws-max-message BYTES",
    "root-path": "use --root-path /PREFIX with --root-path-kept",
    "dirty-apps dirty-app dirty-workers dirty-timeout dirty-threads dirty-graceful-timeout on-dirty-starting "
    "dirty-post-fork dirty-worker-init dirty-worker-exit": _DIRTY,
    "control-socket": "use --control PATH",
    "control-socket-mode": "the socket is for the user of the server and for root",
    "control-socket-disable no-control-socket": "there is no control socket without --control",
}
"""What to use instead of each setting of gunicorn, by its names in the file and on the command line, without leading
dashes, separated by blanks.
"""
