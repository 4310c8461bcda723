"""Whether a configuration makes sense: each value by itself, and those that only make sense together."""

import re
from pathlib import Path
from typing import Any

import pytest

from septet.errors import UsageError
from septet.models import names, takes
from septet.settings.checks import check, check_serves_something
from septet.settings.config import Config

WITH_THREADS = [name for name in names() if "threads" in takes(name)]

HERE = str(Path(__file__).parent)


def test_requests_cannot_be_watched_in_interpreters() -> None:
    with pytest.raises(UsageError, match="request-timeout is 5, but must be left out with the model interpreters"):
        check(Config(model="interpreters", request_timeout=5.0))


def test_defaults_are_allowed() -> None:
    check(Config())


@pytest.mark.parametrize(
    "values",
    [
        {"app": "shop.web:app"},
        {"app": "shop:Shop.app"},
        {"app": "läden:anwendung"},
        {"bind": ("127.0.0.1:0", "[::1]:0", "unix:x.sock", "fd://3")},
        {"static": (f"/={HERE}", f"/static={HERE}")},
        {"limit_body": 0},
        {"header_timeout": 0.001},
        {"forwarded_allow_ips": ("10.0.0.0/8", "::1, unix:", "*"), "proxy_protocol": True},
        {"server_header": ""},
        {"server_header": "a b/1.0"},
        {"access_log": "-"},
        {"model": "preforked", "workers": 3},
        {"tls_certificate": ("a.pem", "b.pem"), "bind": ("https://[::1]:443", "http://a:80", "unix:x.sock")},
        {"tls_certificate": ("a.pem", "b.pem"), "tls_key": ("a", "b"), "tls_key_password_file": ("p",)},
        {"tls_certificate": ("a.pem",), "tls_client_auth": "optional", "tls_client_ca": "ca.pem"},
        *({"model": name, "threads": 2, "workers": 2} for name in WITH_THREADS),
    ],
    ids=str,
)
def test_allowed(values: dict[str, Any]) -> None:
    check(Config(**values))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"app": "shop"}, "APP is 'shop', but must be MODULE:ATTRIBUTE"),
        ({"app": "shop.py:app()"}, "MODULE:ATTRIBUTE"),
        ({"app": "shop/web:app"}, "MODULE:ATTRIBUTE"),
        ({"model": "epol"}, r"--model is 'epol', but must be one of iterative, .* \(did you mean epoll\?\)"),
        ({"interface": "rsgi"}, "--interface is 'rsgi', but must be one of auto, wsgi, asgi"),
        ({"bind": ("127.0.0.1:1", "8000")}, "--bind is '8000', but must be HOST:PORT"),
        (
            {"metrics_bind": "https://a:1"},
            "--metrics-bind is 'https://a:1', but must be HOST:PORT, .*: no TLS is spoken",
        ),
        ({"metrics_bind": "9000"}, r"is .9000., but must be HOST:PORT, \[IPV6\]:PORT, http://HOST:PORT, unix:PATH"),
        ({"bind": ()}, "--bind is empty, but must be at least one of HOST:PORT"),
        (
            {"bind": ("http://localhost:1", "a:1", "LOCALHOST:1")},
            "--bind has the address of 'LOCALHOST:1' twice, but each must be given once",
        ),
        ({"bind": ("unix:/a", "unix:/a?mode=600")}, r"--bind has the address of 'unix:/a\?mode=600' twice, but each"),
        ({"app_dir": "no\0such"}, "--app-dir is .*, but must be a directory that exists"),
        ({"app_dir": "x" * 5000}, "--app-dir is .*, but must be a directory that exists"),
        ({"app_dir": "no/such"}, "--app-dir is 'no/such', but must be a directory that exists"),
        ({"static": ("/x=no/such",)}, "--static is '/x=no/such', but must be ROUTE=DIR"),
        ({"static": (f"x={HERE}",)}, "--static is 'x=.*', but must be ROUTE=DIR with a ROUTE that begins with /"),
        ({"static": (f"/x={HERE}", f"/x/={HERE}")}, "--static gives /x/ more than once"),
        ({"bind": ("https://a:1",)}, "--bind is 'https://a:1', but must go with --tls-certificate"),
        (
            {"tls_certificate": ("a", "b"), "tls_key": ("a",)},
            "--tls-key is given once, but must be given once for each",
        ),
        (
            {"tls_certificate": ("a",), "tls_key": ("a", "b")},
            "--tls-key is given 2 times, but must be given once, or not at all",
        ),
        (
            {"tls_certificate": ("a", "b", "c"), "tls_key_password_file": ("p", "q")},
            "--tls-key-password-file is given 2 times, but must be given once, or once for each of the 3 keys",
        ),
        ({"tls_client_auth": "required"}, "--tls-client-auth is 'required', but must go with --tls-client-ca"),
        ({"tls_min_version": "1.1"}, "--tls-min-version is '1.1', but must be one of 1.2, 1.3$"),
        ({"workers": 0}, "--workers is 0, but must be a whole number from 1"),
        ({"threads": -1}, "--threads is -1, but must be a whole number from 0"),
        ({"backlog": 2**31}, "--backlog is 2147483648, but must be a whole number from 1 to 2147483647"),
        ({"forwarded_allow_ips": ("::1", "localhost")}, "--forwarded-allow-ips is 'localhost', but must be an address"),
        ({"forwarded_allow_ips": ("10.1.0.0/8",)}, r"\(did you mean 10.0.0.0/8\?\)"),
        ({"underscore_headers": "no"}, "--underscore-headers is 'no', but must be one of drop, refuse, allow"),
        ({"forwarded_fields": "both"}, "but must be one of either, x-forwarded, forwarded"),
        ({"limit_body": -1}, "--limit-body is -1, but must be a whole number of bytes from 0"),
        ({"limit_request_line": 0}, "--limit-request-line is 0, but must be a whole number of bytes from 1"),
        ({"write_timeout": 0.0}, "--write-timeout is 0.0, but must be a number of seconds from 0.001 to 1000000"),
        ({"body_timeout": float("nan")}, "--body-timeout is nan"),
        ({"body_timeout": float("inf")}, "--body-timeout is inf"),
        ({"server_header": "a\r\nX: y"}, "--server-header is .*RFC 9110"),
        ({"server_header": " a"}, "--server-header is .*RFC 9110"),
        ({"access_log": ""}, "--access-log is '', but must be the path of a file, or -"),
        ({"access_log": HERE}, "--access-log is .*, but must be the path of a file, or -"),
        ({"log_level": "warn"}, r"--log-level is 'warn', but must be one of .* \(did you mean warning\?\)"),
    ],
    ids=str,
)
def test_refused_in_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        check(Config(**values))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_workers_are_not_for_forking() -> None:
    with pytest.raises(UsageError, match="--workers is 2, but must be left out with the model forking"):
        check(Config(model="forking", workers=2))


def test_metrics_are_not_for_forking() -> None:
    with pytest.raises(UsageError, match="--metrics-interval is 10, but must be left out with the model forking"):
        check(Config(model="forking", metrics_interval=10.0))


@pytest.mark.parametrize("model", sorted(set(names()) - set(WITH_THREADS)))
def test_threads_are_only_for_models_with_a_pool(model: str) -> None:
    with pytest.raises(UsageError, match=f"--threads is 2, but must be left out with the model {model}"):
        check(Config(model=model, threads=2))


def test_only_a_loop_does_without_threads() -> None:
    for model in ("poll", "epoll", "io_uring"):
        check(Config(model=model, threads=0))
    with pytest.raises(UsageError, match=r"--threads is 0, but must be .* with the model prethreaded"):
        check(Config(model="prethreaded", threads=0))


def test_models_with_threads_exist() -> None:
    assert set(WITH_THREADS) <= set(names())


def test_sentence_calls_the_value_by_its_source() -> None:
    with pytest.raises(UsageError, match=r"^septet.toml:3: threads is 2, but"):
        check(Config(model="threaded", threads=2), {"threads": "septet.toml:3: threads"})


def test_something_must_be_served() -> None:
    check_serves_something(Config(app="a:b"))
    check_serves_something(Config(static=(f"/={HERE}",)))
    with pytest.raises(UsageError, match=r"nothing to serve: APP .*, --static ROUTE=DIR or several"):
        check_serves_something(Config())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"forwarded_allow_ips": ("none", "127.0.0.1")}, "none must stand alone"),
        ({"forwarded_allow_ips": ("none,127.0.0.1",)}, "none must stand alone"),
        ({"forwarded_allow_ips": ("none",), "proxy_protocol": True}, "no proxy is trusted"),
    ],
)
def test_proxies_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check(Config(**values))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"supervisor": False, "max_requests": 5}, "--max-requests is 5, but must be left out without a supervisor"),
        ({"supervisor": False, "max_worker_memory": "5M"}, "--max-worker-memory is 5M, but must be left out without"),
        ({"model": "forking", "max_requests": 5}, "--max-requests is 5, but must be left out with the model forking"),
        ({"supervisor": False, "reload": True}, "--reload is on, but needs the supervisor, and --supervisor is off"),
        (
            {"max_worker_memory": "much"},
            "--max-worker-memory is 'much', but must be a number of bytes, or of K, M or G",
        ),
    ],
)
def test_replacing_takes_another_process(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        check(Config(**options))


def test_workers_are_replaced_without_a_supervisor() -> None:
    check(Config(supervisor=False, workers=2, max_requests=5, max_worker_age=1.0))
