"""`septet migrate`: what is printed is a file that our own reader takes, and nothing is left out in silence."""

import importlib
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from septet.cli import septet
from septet.migrate import granian, gunicorn, uvicorn, uwsgi
from septet.settings.command import run
from septet.settings.config import OPTIONS
from septet.settings.other_servers import table
from septet.settings.sources import resolve

MODULES = {module.SERVER: module for module in (gunicorn, uvicorn, granian, uwsgi)}

#: Options that are still to come, by their keys: what a setting of another server becomes is left out until then.
LATE = {"pid_file", "user", "group", "umask", "check"}
COMING = LATE - {option.name for option in OPTIONS}


Printed = tuple[dict[str, Any], list[str]]


@pytest.fixture
def migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs `septet migrate`. Gives the values of the printed file, as our reader has understood it, and the sentences
    on standard error, without those about options that are still to come."""
    monkeypatch.chdir(tmp_path)

    def migrate(*words: str) -> Printed:
        status = run(septet, ["migrate", *words])
        out, err = capsys.readouterr()
        assert status == 0, err
        Path("printed.toml").write_text(out)
        config = resolve({}, {}, "printed.toml").config
        values = {name: getattr(config, name) for name in tomllib.loads(out) if name not in LATE}
        sentences = [line.removeprefix("septet: ") for line in err.splitlines()]
        return values, [each for each in sentences if "this version of Septet has no --" not in each]

    return migrate


GUNICORN = """
import multiprocessing

name = "a variable of the user"
wsgi_app = "shop.web:make_app()"
bind = ["0.0.0.0:80", ":81", "82", "unix:/run/shop.sock", "[::1]:83"]
workers = 1 + multiprocessing.cpu_count() * 0 + 2
worker_class = "gthread"
threads = 4
timeout = 60
graceful_timeout = 20
keepalive = 5
max_requests = 1000
max_requests_jitter = 50
accesslog = "-"
access_log_format = '%(h)s %(s)s'
loglevel = "warning"
forwarded_allow_ips = "10.0.0.1,10.0.0.2"
raw_env = ["SCRIPT_NAME=/shop", "COLOUR=red"]
pidfile = "/run/shop.pid"
user = "www-data"
umask = 0o027
preload_app = True
limit_request_field_size = 4000
logconfig = None
spew = False
certfile = "c.pem"
keyfile = "k.pem"

def post_fork(server, worker):
    pass
"""


def test_gunicorn_conf_py(tmp_path: Path, migrated: Callable[..., Printed]) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(GUNICORN)
    values, sentences = migrated("gunicorn.conf.py")
    assert values == {
        "app": "shop.web:make_app",
        "factory": True,
        "bind": ("0.0.0.0:80", "0.0.0.0:81", "0.0.0.0:82", "unix:/run/shop.sock", "[::1]:83"),
        "model": "prethreaded",
        "workers": 3,
        "threads": 4,
        "worker_timeout": 60.0,
        "graceful_timeout": 20.0,
        "keep_alive_timeout": 5.0,
        "max_requests": 1000,
        "max_requests_jitter": 50,
        "access_log": "-",
        "access_log_format": "%(h)s %(s)s",
        "log_level": "warning",
        "forwarded_allow_ips": ("10.0.0.1", "10.0.0.2", "unix:"),
        "root_path": "/shop",
        "root_path_kept": True,
        "tls_certificate": ("c.pem",),
        "tls_key": ("k.pem",),
    }
    assert [each.partition(" is left out: ")[0] for each in sentences] == [
        "raw_env COLOUR",
        "preload_app",
        "limit_request_field_size",
        "post_fork",
    ]
    assert "before its workers are forked" in sentences[-1]


COMMANDS: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "gunicorn -w 4 -k uvicorn.workers.UvicornWorker app:app",
        {"app": "app:app", "workers": 4, "model": "epoll"},
        [],
    ),
    ("gunicorn app", {"app": "app:application", "workers": 1, "model": "preforked"}, []),
    (
        "gunicorn -w2 --threads=3 --timeout 10 -b :80 -b unix:x.sock --preload a:b",
        {
            "app": "a:b",
            "bind": ("0.0.0.0:80", "unix:x.sock"),
            "workers": 2,
            "threads": 3,
            "model": "prethreaded",
            "worker_timeout": 10.0,
        },
        ["preload-app"],
    ),
    (
        "gunicorn -b unix:x --forwarded-allow-ips * a:b",
        {"app": "a:b", "bind": ("unix:x",), "forwarded_allow_ips": ("*",), "workers": 1, "model": "preforked"},
        [],
    ),
    (
        "gunicorn -b unix:x --forwarded-allow-ips= a:b",
        {"app": "a:b", "bind": ("unix:x",), "forwarded_allow_ips": ("unix:",), "workers": 1, "model": "preforked"},
        [],
    ),
    (
        "gunicorn -b :80 --forwarded-allow-ips ::1 a:b",
        {"app": "a:b", "bind": ("0.0.0.0:80",), "forwarded_allow_ips": ("::1",), "workers": 1, "model": "preforked"},
        [],
    ),
    ("gunicorn -t 10 a:b", {"app": "a:b", "workers": 1, "model": "preforked", "request_timeout": 10.0}, []),
    ("gunicorn -k gevent --keep-alive 0 a:b", {"app": "a:b", "model": "epoll"}, ["worker-class:", "keepalive"]),
    ("gunicorn --umask 027 --pid x.pid a:b", {"app": "a:b", "workers": 1, "model": "preforked"}, []),
    (
        "python3 -m uvicorn shop:app --host ::1 --port 80 --workers 4 --no-server-header --loop uvloop",
        {"app": "shop:app", "bind": ("[::1]:80",), "workers": 4, "server_header": "", "model": "epoll"},
        ["loop"],
    ),
    (
        "/usr/bin/uvicorn --factory a:b --uds /run/x --limit-concurrency=9 --log-level critical --no-proxy-headers "
        "--ssl-certfile c.pem --ssl-keyfile k.pem --ssl-keyfile-password x --interface asgi3 --root-path /r",
        {
            "app": "a:b",
            "factory": True,
            "interface": "asgi",
            "bind": ("unix:/run/x",),
            "tls_certificate": ("c.pem",),
            "tls_key": ("k.pem",),
            "model": "epoll",
            "forwarded_allow_ips": ("none",),
            "root_path": "/r",
            "limit_concurrency": 9,
            "log_level": "error",
        },
        ["ssl-keyfile-password"],
    ),
    (
        "granian --interface asginl a:b --host 0.0.0.0 --blocking-threads 3 --workers-lifetime 1d6h "
        "--url-path-prefix /x --workers-max-rss 300 --no-ws --http 2 --static-path-mount / --static-path-route /s "
        "--metrics",
        {
            "app": "a:b",
            "interface": "asgi",
            "static": ("/s=/",),
            "bind": ("0.0.0.0:8000",),
            "model": "epoll",
            "threads": 3,
            "max_worker_memory": "300M",
            "max_worker_age": 108000.0,
            "root_path": "/x",
            "root_path_kept": True,
            "ws": "none",
            "metrics_bind": "127.0.0.1:9090",
        },
        ["http"],
    ),
    ("granian a:b --interface rsgi", {"app": "a:b", "model": "epoll"}, ["interface"]),
    (
        "uwsgi --http :8000 --module shop.wsgi --callable app -p 4 --threads 2 --master --harakiri 20",
        {
            "app": "shop.wsgi:app",
            "bind": ("0.0.0.0:8000",),
            "model": "prethreaded",
            "workers": 4,
            "threads": 2,
            "request_timeout": 20.0,
        },
        ["master"],
    ),
]


@pytest.mark.parametrize(("command", "expected", "left"), COMMANDS, ids=str)
def test_command_line(
    command: str, expected: dict[str, Any], left: list[str], migrated: Callable[..., Printed]
) -> None:
    values, sentences = migrated("--", *command.split())
    assert values == expected
    assert [each.split()[0] for each in sentences] == left


UWSGI = """
; of the shop
[uwsgi]
base = {base}
chdir = %(base)
wsgi-file = %(base)/web.py
callable = app
mount = /api=api.py
processes = 4
socket = /run/%n.sock
vacuum = false
die-on-term = true
route = ^/x redirect:/y
nosuch = /tmp/1

[other]
processes = 9
"""


def test_no_password_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["uvicorn", "shop:app", "--ssl-keyfile", "key.pem", "--ssl-certfile", "cert.pem"]
    run(septet, ["migrate", "--", *words, "--ssl-keyfile-password", "secret"])
    run(septet, ["migrate", "--", *words, "--ssl-keyfile-password=secret"])
    printed = "".join(capsys.readouterr())
    assert "--ssl-keyfile-password '***'" in printed
    assert "'--ssl-keyfile-password=***'" in printed
    assert "secret" not in printed


def test_uwsgi_ini(tmp_path: Path, migrated: Callable[..., Printed]) -> None:
    (tmp_path / "shop.ini").write_text(UWSGI.format(base=tmp_path))
    values, sentences = migrated("shop.ini")
    assert values == {
        "app": "web:app",
        "app_dir": str(tmp_path),
        "mount": ("/api=api:app",),
        "bind": ("unix:/run/shop.sock",),
        "model": "preforked",
        "workers": 4,
    }
    assert [each.split()[0] for each in sentences] == ["socket", "die-on-term", "route", "nosuch"]


def test_gunicorn_file_that_the_command_line_names(tmp_path: Path, migrated: Callable[..., Printed]) -> None:
    (tmp_path / "g.py").write_text("bind = ':1'\nworkers = 2\nworker_class = 'gthread'\n")
    values, sentences = migrated("--", "gunicorn", "-c", "g.py", "-b", ":2", "-w", "3", "a:b")
    assert values == {"app": "a:b", "bind": ("0.0.0.0:2",), "workers": 3, "model": "prethreaded"}
    assert sentences == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch.py"], "FILE is 'nosuch.py', but must be a file that exists\n"),
        (["x" * 300 + ".py"], "FILE is 'xxx"),
        (["bad.conf.py"], "bad.conf.py cannot be run: ValueError: deliberate\n"),
        (["empty.ini"], "empty.ini has no section [uwsgi]\n"),
        (["--", "nginx", "-t"], "'nginx -t' is neither a gunicorn.conf.py"),
        (["--", "uvicorn", "--nosuch", "a:b"], "'--nosuch' is no option that is known here"),
        (["--", "gunicorn", "-w"], "'-w' must have a value\n"),
        (["uvicorn shop:app"], "'uvicorn shop:app' is one word: write septet migrate -- uvicorn shop:app\n"),
    ],
    ids=str,
)
def test_what_cannot_be_migrated(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.conf.py").write_text("raise ValueError('deliberate')\n")
    Path("empty.ini").write_text("[other]\n")
    assert run(septet, ["migrate", *words]) in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"septet: {said}")


def known(server: str) -> dict[str, bool]:
    """Every name of an option of this server, as the installed version has them; whether it takes no value."""
    if server == "gunicorn":
        settings = importlib.import_module("gunicorn.config").KNOWN_SETTINGS
        names = {setting.name.replace("_", "-"): False for setting in settings}
        switches = ("store_true", "store_false", "store_const")
        for setting in settings:
            for spelling in setting.cli or ():
                names[spelling.lstrip("-").replace("_", "-")] = setting.action in switches
        return names
    command = importlib.import_module("uvicorn.main").main if server == "uvicorn" else None
    command = command or importlib.import_module("granian.cli").cli
    return {
        name.lstrip("-"): bool(getattr(parameter, "is_flag", False))
        for parameter in command.params
        for name in [*parameter.opts, *parameter.secondary_opts]
    }


@pytest.mark.parametrize("server", ["gunicorn", "uvicorn", "granian"])
def test_tables_are_complete(server: str) -> None:
    """A new version of theirs that has another option fails here: say in the table what to use in its place."""
    theirs = known(server)
    assert sorted(theirs.keys() - table(server).keys()) == []
    on_the_command_line = cli_of_gunicorn() if server == "gunicorn" else theirs.keys()
    switches = {name for name in on_the_command_line if theirs[name]}
    assert sorted((switches ^ MODULES[server].SWITCHES) & on_the_command_line) == []


def cli_of_gunicorn() -> set[str]:
    settings = importlib.import_module("gunicorn.config").KNOWN_SETTINGS
    return {name.lstrip("-").replace("_", "-") for setting in settings for name in setting.cli or ()}


@pytest.mark.parametrize("server", MODULES)
def test_tables_name_options_that_exist(server: str) -> None:
    ours = {option.flag for option in OPTIONS} | {f"--no-{o.flag[2:]}" for o in OPTIONS if o.kind is bool}
    ours |= {"--config", "--print-config", "--version"} | {f"--{key.replace('_', '-')}" for key in COMING}
    for name, text in table(server).items():
        assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)) <= ours, name


@pytest.mark.parametrize("server", MODULES)
def test_conversions_agree_with_the_tables(server: str) -> None:
    """What is converted is in the table; and where the same value is put, the table names that option."""
    names = {option.name for option in OPTIONS} | COMING
    for name, conversion in MODULES[server].CONVERSIONS.items():
        assert name in table(server)
        if isinstance(conversion, str):
            assert conversion in names
            assert f"--{conversion.replace('_', '-')}" in table(server)[name]
