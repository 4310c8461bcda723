"""The sources of a configuration: what each can say, which goes before which, and that `--print-config` is TOML."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from septet.errors import UsageError
from septet.models import names, takes
from septet.settings.config import OPTIONS, Config
from septet.settings.options import Option
from septet.settings.sources import Resolved, as_toml, resolve
from septet.settings.workers import WorkerCount

WITH_THREADS = [name for name in names() if "threads" in takes(name)]


COUNT = "a whole number from 1, or a range MIN-MAX such as 2-8"


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def other_value(option: Option) -> Any:
    """An allowed value that is not the default."""
    special = {"app": "a:b", "model": "prethreaded", "interface": "wsgi", "log_level": "debug"}
    special |= {"forwarded_allow_ips": ("10.0.0.0/8", "unix:"), "forwarded_fields": "forwarded"}
    special |= {"underscore_headers": "allow", "asgi_extensions": ("pathsend", "trailers")}
    special |= {"max_worker_memory": "500M", "reload_dir": ("..",), "reload_exclude": ("build", "*_test.py")}
    special |= {"reload_include": ("*.html", "templates")}
    special |= {"tls_client_auth": "required", "tls_min_version": "1.3", "ws": "none"}
    special |= dict.fromkeys(("tls_certificate", "tls_key", "tls_key_password_file"), ("a.pem",))
    special |= {"app_dir": "..", "bind": ("[::1]:0", "unix:x.sock"), "static": ("/a=.", "/b=..")}
    special |= {"loops": 1}  # more are refused by a Python with a global lock
    special |= {"mount": ("/c=a:b", "/d=wsgi:a:make()"), "root_path": "/shop"}
    special |= {"access_log_format": "json", "access_log_exclude": ("/healthz",), "log_format": "json"}
    special |= {"http": "h1", "metrics_bind": "127.0.0.1:9000", "user": "root", "group": "root", "umask": "027"}
    by_kind: dict[type, Any] = {bool: not option.default, int: 7, float: 2.5, str: "other", WorkerCount: WorkerCount(7)}
    return special.get(option.name, by_kind.get(option.kind))


def spelled(value: Any) -> str:
    """`value` as a variable has it."""
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def on_command_line(value: Any) -> Any:
    """`value` as click hands it over."""
    return value if isinstance(value, tuple | bool) else str(value)


def others_for(option: Option) -> dict[str, Any]:
    """What else must be given so that the option is allowed."""
    others = {"threads": {"model": "prethreaded"}, "tls_client_auth": {"tls_client_ca": "ca.pem"}}
    return others.get(option.name, {})


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_has_every_source(option: Option) -> None:
    value = other_value(option)
    assert value != option.default
    toml = as_toml(Resolved(Config(**{option.name: value}), {}))
    line = next(line for line in toml.splitlines() if line.startswith(f"{option.name} = "))
    Path("septet.toml").write_text(f"\n{line}\n")

    def resolved(typed: dict[str, Any], environ: dict[str, str]) -> tuple[Any, str | None]:
        outcome = resolve(others_for(option) | typed, environ)
        return getattr(outcome.config, option.name), outcome.sources.get(option.name)

    environ = {option.variable: spelled(value)}
    assert resolved({}, {}) == (value, "septet.toml:2")
    assert resolved({}, environ) == (value, option.variable)
    assert resolved({option.name: on_command_line(value)}, environ) == (value, "command line")
    Path("septet.toml").unlink()
    assert resolved({}, {}) == (option.default, None)


def test_command_line_before_environment_before_file() -> None:
    Path("septet.toml").write_text("backlog = 1\nlimit_body = 1\nlimit_header_count = 1\n")
    environ = {"SEPTET_BACKLOG": "2", "SEPTET_LIMIT_BODY": "2"}
    config = resolve({"backlog": "3"}, environ).config
    assert (config.backlog, config.limit_body, config.limit_header_count) == (3, 2, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", True),
        ("true", True),
        ("YES", True),
        ("on", True),
        ("0", False),
        ("False", False),
        ("no", False),
        ("off", False),
    ],
)
def test_switch_in_the_environment(text: str, value: bool) -> None:
    assert resolve({}, {"SEPTET_FACTORY": text}).config.factory is value


@pytest.mark.parametrize("text", ["a:1,b:2", "a:1 b:2", " a:1, b:2,"])
def test_several_values_in_the_environment(text: str) -> None:
    assert resolve({}, {"SEPTET_BIND": text}).config.bind == ("a:1", "b:2")


def test_several_values_on_the_command_line_are_not_split() -> None:
    Path("a, b").mkdir()
    assert resolve({"static": ("/x=a, b",)}, {}).config.static == ("/x=a, b",)


def test_empty_variable_is_not_set() -> None:
    assert resolve({}, {"SEPTET_WORKERS": "", "SEPTET_BIND": ""}) == Resolved(Config(), {})


def test_empty_word_on_the_command_line_is_a_value() -> None:
    assert resolve({"server_header": ""}, {"SEPTET_SERVER_HEADER": "x"}).config.server_header == ""


def test_other_variables_are_not_ours() -> None:
    resolved = resolve({}, {"SEPTET_PORT": "tcp://10.0.0.1:80"})
    assert resolved == Resolved(Config(), {})


def test_remarks_call_an_option_by_its_source() -> None:
    Path("septet.toml").write_text("static_cache_control = 'no-store'\n")
    said = "septet.toml:1: static_cache_control has no effect without --static"
    assert resolve({}, {}).warnings == (said,)


def test_key_of_another_server_has_a_cure() -> None:
    Path("septet.toml").write_text("port = 80\n")
    with pytest.raises(UsageError, match=r"^septet.toml:1: port is not an option \(use --bind HOST:PORT\)$"):
        resolve({}, {})


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        ("SEPTET_WORKERS", "two", f"SEPTET_WORKERS is 'two', but must be {COUNT}"),
        ("SEPTET_WORKERS", "0", f"SEPTET_WORKERS is 0, but must be {COUNT}"),
        ("SEPTET_BODY_TIMEOUT", "soon", "SEPTET_BODY_TIMEOUT is 'soon', but must be a number of seconds"),
        ("SEPTET_FACTORY", "maybe", "SEPTET_FACTORY is 'maybe', but must be true or false"),
        ("SEPTET_APP_DIR", os.fsdecode(b"\xff"), "SEPTET_APP_DIR is .*, but must be UTF-8"),
    ],
)
def test_wrong_variable(variable: str, text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        resolve({}, {variable: text})


def test_file_that_was_chosen() -> None:
    Path("septet.toml").write_text("backlog = 1\n")
    Path("other.toml").write_text("limit_body = 2\n")
    assert resolve({}, {}, "other.toml").config == Config(limit_body=2)


def test_pyproject_is_read_where_there_is_no_septet_toml() -> None:
    Path("pyproject.toml").write_text('backlog = 9\n[project]\nname = "x"\n[ tool.septet ]\n\nbacklog = 1\n')
    resolved = resolve({}, {})
    assert (resolved.config, resolved.sources) == (Config(backlog=1), {"backlog": "pyproject.toml:6"})
    Path("septet.toml").write_text("backlog = 2\n")
    assert resolve({}, {}).config.backlog == 2


def test_pyproject_of_somebody_else() -> None:
    Path("pyproject.toml").write_text('[project]\nname = "x"\n')
    assert resolve({}, {}) == Resolved(Config(), {})


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("septet.toml", "\n\nwrokers = 2", r"^septet.toml:3: wrokers is not an option \(did you mean workers\?\)$"),
        (
            "septet.toml",
            "limit-body = 2",
            r"^septet.toml:1: limit-body is not an option \(did you mean limit_body\?\)$",
        ),
        ("septet.toml", "[kitchen]\nbacklog = 2", r"^septet.toml: kitchen is not an option; the options are app, "),
        ("septet.toml", '# x\nworkers = "two"', f"^septet.toml:2: workers is 'two', but must be {COUNT}$"),
        ("septet.toml", "workers = true", f"^septet.toml:1: workers is True, but must be {COUNT}$"),
        ("septet.toml", "workers = 1.5", f"^septet.toml:1: workers is 1.5, but must be {COUNT}$"),
        ("septet.toml", "workers = 0", f"^septet.toml:1: workers is 0, but must be {COUNT}$"),
        ("septet.toml", "factory = 1", "^septet.toml:1: factory is 1, but must be true or false$"),
        ("septet.toml", "model = 1", "^septet.toml:1: model is 1, but must be one of iterative, "),
        ("septet.toml", "bind = [1]", r"^septet.toml:1: bind is \[1\], but must be a list of strings, each HOST:PORT"),
        ("septet.toml", "bind = []", "^septet.toml:1: bind is empty, but must be at least one of HOST:PORT"),
        ("septet.toml", "model = \n", "^septet.toml is not TOML: Invalid value .*line 1"),
        (
            "pyproject.toml",
            "[tool.septet]\nmodle = 1",
            r"^pyproject.toml:2: modle is not an option \(did you mean model\?\)$",
        ),
        ("pyproject.toml", "[tool]\nseptet = 1", "^pyproject.toml: tool.septet is 1, but must be a table$"),
        (
            "septet.toml",
            "model = 'poll'\nbody_timeout = 99999999999999999999",
            "^septet.toml:2: body_timeout is 99999999999999999999, but must be a number of seconds",
        ),
    ],
)
def test_wrong_file(name: str, text: str, sentence: str) -> None:
    Path(name).write_text(text)
    with pytest.raises(UsageError, match=sentence):
        resolve({}, {})


def test_file_that_is_not_text() -> None:
    Path("septet.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"^septet\.toml is not TOML"):
        resolve({}, {})


def test_file_that_does_not_exist() -> None:
    with pytest.raises(UsageError, match=r"--config is 'no\.toml', but must be a file that exists"):
        resolve({}, {}, "no.toml")


def test_file_of_which_it_cannot_be_told_whether_it_exists() -> None:
    """As in a directory that this user may not search. The user of tests may search all, but no name has 300 bytes."""
    with pytest.raises(UsageError, match=r"^x+ cannot be read: File name too long$"):
        resolve({}, {}, "x" * 300)
    Path("septet.toml").symlink_to("septet.toml")
    with pytest.raises(UsageError, match=r"septet\.toml cannot be read: Too many levels of symbolic links"):
        resolve({}, {})


def test_one_string_is_a_list_of_one() -> None:
    Path("septet.toml").write_text('bind = "a:1"\nbody_timeout = 3\n')
    config = resolve({}, {}).config
    assert config.bind == ("a:1",)
    assert (config.body_timeout, type(config.body_timeout)) == (3.0, float)


def test_printed_configuration_says_where_each_value_comes_from() -> None:
    Path("septet.toml").write_text("backlog = 1\n")
    lines = as_toml(resolve({"model": "poll"}, {"SEPTET_LIMIT_BODY": "5"})).splitlines()
    assert lines.count("# Where to listen") == 1
    told = {line.split(" = ")[0]: line.split("# ")[1] for line in lines if " = " in line}
    assert told["model"] == "command line"
    assert told["limit_body"] == "SEPTET_LIMIT_BODY"
    assert told["backlog"] == "septet.toml:1"
    assert told["interface"] == "default"
    assert "# workers is not set: the model's own number" in lines


# What platforms set for any server

HERE = {"LISTEN_PID": "here"}
ELSEWHERE = {"LISTEN_PID": "1"}


def on_a_platform(environ: dict[str, str], given: dict[str, Any] | None = None) -> Resolved:
    pid = {"here": str(os.getpid())}
    return resolve(given or {}, {name: pid.get(value, value) for name, value in environ.items()})


@pytest.mark.parametrize(
    ("environ", "option", "value", "source"),
    [
        ({"PORT": "80"}, "bind", ("0.0.0.0:80",), "PORT"),
        ({"PORT": ""}, "bind", ("127.0.0.1:8000",), None),
        ({"WEB_CONCURRENCY": "3"}, "workers", 3, "WEB_CONCURRENCY"),
        ({"WEB_CONCURRENCY": ""}, "workers", None, None),
        ({"LISTEN_FDS": "2", **HERE}, "bind", ("fd://3", "fd://4"), "LISTEN_FDS"),
        ({"LISTEN_FDS": "1", "PORT": "80", **HERE}, "bind", ("fd://3",), "LISTEN_FDS"),
        ({"LISTEN_FDS": "1", "PORT": "80", **ELSEWHERE}, "bind", ("0.0.0.0:80",), "PORT"),
        ({"LISTEN_FDS": "1"}, "bind", ("127.0.0.1:8000",), None),
        ({"LISTEN_FDS": "", **HERE}, "bind", ("127.0.0.1:8000",), None),
        ({"LISTEN_FDS": "x", **ELSEWHERE}, "bind", ("127.0.0.1:8000",), None),
    ],
    ids=str,
)
def test_variables_of_platforms(environ: dict[str, str], option: str, value: Any, source: str | None) -> None:
    resolved = on_a_platform(environ)
    assert getattr(resolved.config, option) == value
    assert resolved.sources.get(option) == source
    if source:
        assert f"# {source}\n" in as_toml(resolved)


PLATFORM = {"PORT": "80", "WEB_CONCURRENCY": "3", "LISTEN_FDS": "1", **HERE}


def test_ours_before_the_platforms_before_the_file() -> None:
    Path("septet.toml").write_text("bind = 'a:1'\nworkers = 9\n")
    ours = {"SEPTET_BIND": "b:1", "SEPTET_WORKERS": "2"}
    for typed, environ, said in (
        ({"bind": ("c:1",), "workers": "1"}, PLATFORM | ours, (("c:1",), 1)),
        ({}, PLATFORM | ours, (("b:1",), 2)),
        ({}, PLATFORM, (("fd://3",), 3)),
        ({}, {}, (("a:1",), 9)),
    ):
        config = on_a_platform(environ, typed).config
        assert (config.bind, config.workers) == said


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"PORT": "abc"}, "PORT is 'abc', but must be a port from 0 to 65535"),
        ({"PORT": "65536"}, "PORT is '65536', but must be a port from 0 to 65535"),
        ({"PORT": "tcp://10.0.0.1:80"}, "PORT is 'tcp://10.0.0.1:80', but must be a port from 0 to 65535"),
        ({"WEB_CONCURRENCY": "many"}, f"WEB_CONCURRENCY is 'many', but must be {COUNT}"),
        ({"WEB_CONCURRENCY": "0"}, f"WEB_CONCURRENCY is 0, but must be {COUNT}"),
        ({"LISTEN_FDS": "x", **HERE}, "LISTEN_FDS is 'x', but must be a whole number from 1 to 1024"),
        ({"LISTEN_FDS": "0", **HERE}, "LISTEN_FDS is '0', but must be a whole number from 1 to 1024"),
    ],
    ids=str,
)
def test_bad_variable_of_a_platform_is_called_by_its_name(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError, match=f"^{sentence}$"):
        on_a_platform(environ)
    on_a_platform(environ, {"bind": ("a:1",), "workers": "1"})  # where it has no say it may say anything


def test_remarks_about_variables_of_platforms() -> None:
    Path("septet.toml").write_text("model = 'forking'\n")
    said = resolve({}, {"WEB_CONCURRENCY": "3", "LISTEN_FDS": "1", **ELSEWHERE})
    assert said.config.workers is None
    assert said.warnings == (
        "WEB_CONCURRENCY has no effect: the model forking decides the number of its processes",
        "LISTEN_FDS has no effect, because LISTEN_PID names another process",
    )


seconds = st.floats(0.001, 1_000_000)
size = st.integers(1, 2**31 - 1)
odd = st.sampled_from([".", "..", "a b", 'quote"d', "back\\slash", "Grüße 🦑", "del\x7f", "new\nline", "#", "tab\t"])
configs = st.builds(
    Config,
    app=st.none() | st.sampled_from(["a:b", "shop.web:make.app", "läden:ü"]),
    factory=st.booleans(),
    interface=st.sampled_from(["auto", "wsgi", "asgi"]),
    app_dir=odd,
    static=st.lists(odd, unique=True).map(lambda directories: tuple(f"/{at}={d}" for at, d in enumerate(directories))),
    bind=st.lists(st.sampled_from(["a:1", "[::1]:0", "unix:Ü \" # '", "fd://3"]), min_size=1, unique=True).map(tuple),
    backlog=size,
    model=st.sampled_from(WITH_THREADS),
    workers=st.none() | size,
    threads=st.none() | size,
    limit_request_line=size,
    limit_header_block=size,
    limit_header_count=size,
    limit_body=st.integers(0, 2**70),
    keep_alive_timeout=seconds,
    header_timeout=seconds,
    body_timeout=seconds,
    write_timeout=seconds,
    graceful_timeout=seconds,
    server_header=st.from_regex(r"|[!-~]([ -~]*[!-~])?", fullmatch=True),
    access_log=st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).map("x".__add__),
    log_level=st.sampled_from(["debug", "info", "warning", "error"]),
)


@settings(deadline=None)  # a busy machine
@given(config=configs)
def test_printed_configuration_means_the_same(config: Config) -> None:
    start = Path.cwd()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        try:
            for path in {config.app_dir, *(text.partition("=")[2] for text in config.static)}:
                Path(path).mkdir(exist_ok=True)
            Path("septet.toml").write_text(as_toml(Resolved(config, {})), "utf-8")
            assert resolve({}, {}).config == config
        finally:
            os.chdir(start)


@pytest.mark.parametrize(
    ("text", "least", "most"), [("4", 4, 4), ("2-8", 2, 8), ("3-3", 3, 3), ("1-1000000000", 1, 1_000_000_000)]
)
def test_range_of_workers(text: str, least: int, most: int) -> None:
    found = resolve({"workers": text}, {}).config.workers
    assert found is not None
    assert (int(found), found.most) == (least, most)
    assert resolve({}, {"WEB_CONCURRENCY": text}).config.workers == found
    assert ("-" in str(found)) == (least != most)


@pytest.mark.parametrize("text", ["8-2", "0-2", "-2", "2-", "1-2-3", "a-b", "1.5-2", " 1-2"])
def test_wrong_range_of_workers(text: str) -> None:
    with pytest.raises(UsageError, match=COUNT):
        resolve({"workers": text}, {})


# Units


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("ws_max_message", "16M", 16 << 20),
        ("ws_max_message", "1MiB", 1 << 20),
        ("limit_body", "64k", 64 << 10),
        ("limit_spool", "2GB", 2 << 30),
        ("min_rate", "1KiB", 1024),
        ("ws_ping_interval", "20s", 20.0),
        ("ws_ping_interval", "1.5m", 90.0),
        ("body_timeout", "250ms", 0.25),
        ("max_worker_age", "12h", 43_200.0),
    ],
)
def test_sizes_and_times_have_units(name: str, text: str, value: float) -> None:
    variable = f"SEPTET_{name.upper()}"
    Path("septet.toml").write_text(f'{name} = "{text}"\n')
    found = [getattr(resolve(*said).config, name) for said in (({name: text}, {}), ({}, {variable: text}), ({}, {}))]
    assert found == [value] * 3
    assert {type(each) for each in found} == {type(value)}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("ws_max_message", "16X", "'16X', but must be a whole number of bytes from 1, or of K, M or G, such as 16M"),
        ("ws_max_message", "0K", "0, but must be a whole number of bytes from 1"),
        ("limit_body", "1.5M", "'1.5M', but must be a whole number of bytes from 0"),
        ("limit_header_count", "1K", "'1K', but must be a whole number from 1"),
        ("ws_ping_interval", "20 s", "'20 s', but must be a number of seconds from 0 to 1000000, or with ms, s, m"),
        ("ws_ping_interval", "5M", "'5M', but must be a number of seconds"),
        ("body_timeout", "1000h", "3600000.0, but must be a number of seconds from 0.001 to 1000000"),
    ],
)
def test_other_units(name: str, text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=f"is {sentence}"):
        resolve({name: text}, {})
    Path("septet.toml").write_text(f'{name} = "{text}"\n')
    with pytest.raises(UsageError, match=f"is {sentence}"):
        resolve({}, {})
