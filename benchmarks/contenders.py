"""The servers that can be compared: how each is installed and how it is started.

All serve with one worker on one CPU, without an access log, and with TCP backlog and keep-alive time as long as
septet's where they have such options; everything else is as it comes. A new contender is one more function.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from environment import BIN, HERE, SEPTET, program

Command = list[str]

CERTIFICATE, KEY = "certificate.pem", "key.pem"


@dataclass(frozen=True)
class Site:
    """Where one block's server is to run, and what it is to serve."""

    app: str
    """MODULE:NAME of a module in this directory, or an empty string for the files alone."""
    port: int
    scratch: Path
    """A directory for what the server writes, configuration files included."""
    files: Path
    """The document root of the static scenarios, which holds the applications' databases, too."""
    tls: bool = False
    """TLS is spoken, with the certificate and the key that lie among the files."""
    websocket: bool = False
    """The application is loaded by WebSockets."""
    http2: bool = False
    """HTTP/2 is spoken in clear, by prior knowledge."""

    @property
    def certificate(self) -> str:
        return str(self.files / CERTIFICATE)

    @property
    def key(self) -> str:
        return str(self.files / KEY)


@dataclass(frozen=True)
class Contender:
    """One server in one configuration: its name in the tables and the command that starts it at a site.

    `packages` come from the Python index, the first one giving the version; `needs` is a program of the system.
    """

    name: str
    command: Callable[[Site], Command]
    packages: tuple[str, ...] = ()
    needs: str = ""


def septet(model: str, *options: str) -> Contender:
    def command(site: Site) -> Command:
        what = [site.app] if site.app else ["--static", f"/={site.files}"]
        where = ["--bind", f"127.0.0.1:{site.port}", "--app-dir", str(HERE)]
        tls = ["--tls-certificate", site.certificate, "--tls-key", site.key] if site.tls else []
        tls += ["--http2-cleartext"] if site.http2 else []
        return [str(BIN / "septet"), "serve", *what, "--model", model, *where, *tls, *options]

    return Contender(" ".join(["septet", model, *options]), command, (SEPTET,))


def bjoern() -> Contender:
    """bjoern has no command of its own. It sends neither Date nor Server, which spares it some work."""

    def command(site: Site) -> Command:
        module, name = site.app.split(":")
        text = f"import bjoern, {module}; bjoern.run({module}.{name}, '127.0.0.1', {site.port}, listen_backlog=4096)"
        return [str(BIN / "python"), "-c", text]

    return Contender("bjoern", command, ("bjoern",))


def fastpysgi() -> Contender:
    """By its module, since its command has no option for the backlog. It tells ASGI from WSGI by itself."""

    def command(site: Site) -> Command:
        module, name = site.app.split(":")
        text = (
            f"import fastpysgi, {module}; fastpysgi.server.backlog = 4096; "
            f"fastpysgi.run({module}.{name}, '127.0.0.1', {site.port}, loglevel=fastpysgi.LL_ERROR)"
        )
        return [str(BIN / "python"), "-c", text]

    return Contender("fastpysgi", command, ("fastpysgi",))


def granian(interface: str, threads: int | None = None) -> Contender:
    """With uvloop for ASGI, which granian takes by itself where it is installed.

    Its backpressure is a limit on connections, idle ones included; 15,000 must fit. A WSGI application runs in threads
    that are started as they are needed, half as many as that limit at most, unless `threads` says otherwise.
    """
    blocking = [] if threads is None else ["--blocking-threads", str(threads)]

    def command(site: Site) -> Command:
        how = ["--interface", interface, "--workers", "1", "--backlog", "4096"]
        sockets = [] if site.websocket else ["--no-ws"]
        limits = ["--backpressure", "16000", "--log-level", "warning"]
        tls = ["--ssl-certificate", site.certificate, "--ssl-keyfile", site.key] if site.tls else []
        return [str(BIN / "granian"), *how, *sockets, *blocking, *limits, *tls, "--port", str(site.port), site.app]

    return Contender(" ".join(["granian", *blocking]), command, ("granian", "uvloop"))


def uvicorn() -> Contender:
    def command(site: Site) -> Command:
        how = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
        how += ["--ws", "websockets-sansio"] if site.websocket else []
        limits = ["--backlog", "4096", "--timeout-keep-alive", "75"]
        tls = ["--ssl-certfile", site.certificate, "--ssl-keyfile", site.key] if site.tls else []
        return [str(BIN / "uvicorn"), *how, *limits, *tls, "--port", str(site.port), site.app]

    return Contender("uvicorn", command, ("uvicorn", "uvloop", "httptools"))


def hypercorn() -> Contender:
    """The other server whose HTTP/2 is the library h2."""

    def command(site: Site) -> Command:
        how = ["--worker-class", "uvloop", "--workers", "1", "--backlog", "4096", "--keep-alive", "75"]
        return [str(BIN / "hypercorn"), *how, "--bind", f"127.0.0.1:{site.port}", site.app]

    return Contender("hypercorn", command, ("hypercorn", "uvloop"))


def gunicorn(threads: int) -> Contender:
    def command(site: Site) -> Command:
        how = ["--worker-class", "gthread", "--threads", str(threads), "--backlog", "4096", "--keep-alive", "75"]
        place = ["--bind", f"127.0.0.1:{site.port}", "--worker-tmp-dir", "/dev/shm", "--log-level", "warning"]
        return [str(BIN / "gunicorn"), *how, *place, "--no-control-socket", site.app]

    return Contender(f"gunicorn gthread --threads {threads}", command, ("gunicorn",))


def gunicorn_sync() -> Contender:
    """As it comes: one request at a time, and a connection for each."""

    def command(site: Site) -> Command:
        place = ["--bind", f"127.0.0.1:{site.port}", "--worker-tmp-dir", "/dev/shm", "--log-level", "warning"]
        return [str(BIN / "gunicorn"), "--backlog", "4096", *place, "--no-control-socket", site.app]

    return Contender("gunicorn sync", command, ("gunicorn",))


def gunicorn_asgi() -> Contender:
    def command(site: Site) -> Command:
        place = ["--bind", f"127.0.0.1:{site.port}", "--worker-tmp-dir", "/dev/shm", "--log-level", "warning"]
        return [str(BIN / "gunicorn"), "--worker-class", "asgi", *place, "--no-control-socket", site.app]

    return Contender("gunicorn asgi", command, ("gunicorn", "uvloop"))


def waitress(threads: int) -> Contender:
    def command(site: Site) -> Command:
        how = ["--threads", str(threads), "--backlog", "4096", "--channel-timeout", "75", "--connection-limit", "16000"]
        return [str(BIN / "waitress-serve"), *how, "--listen", f"127.0.0.1:{site.port}", site.app]

    return Contender(f"waitress --threads {threads}", command, ("waitress",))


NGINX_CONF = """\
daemon off;
worker_processes 1;
pid {scratch}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    default_type text/plain;
    keepalive_requests 1000000000;
    {temporary}
    server {{
        listen 127.0.0.1:{port} backlog=4096{tls}{http2};
        location / {{ {serve} }}
    }}
}}
"""


def bare() -> Contender:
    """What Python takes for the system calls and OpenSSL alone: no server (bare.py)."""

    def command(site: Site) -> Command:
        tls = [site.certificate, site.key] if site.tls else []
        return [str(BIN / "python"), str(HERE / "bare.py"), str(site.port), *tls]

    return Contender("bare", command, ("websockets",))


def nginx() -> Contender:
    """The floor: a constant answer where the others run an application, or the files by sendfile."""

    def command(site: Site) -> Command:
        serve = "return 200 'Hello, world';" if site.app else f"root {site.files};"
        # Before 1.23.4 nginx speaks TLS 1.3 only if told to. All others do, and a handshake of it costs twice as much.
        how = f"ssl_certificate {site.certificate}; ssl_certificate_key {site.key}; ssl_protocols TLSv1.2 TLSv1.3"
        tls = f" ssl; {how}" if site.tls else ""
        http2 = " http2" if site.http2 else ""
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{kind}_temp_path {site.scratch}/{kind};" for kind in kinds)
        configuration = site.scratch / "nginx.conf"
        configuration.write_text(
            NGINX_CONF.format(
                scratch=site.scratch, port=site.port, tls=tls, http2=http2, serve=serve, temporary=temporary
            )
        )
        return [program("nginx"), "-e", "stderr", "-c", str(configuration)]

    return Contender("nginx", command, needs="nginx")
