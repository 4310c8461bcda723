"""What is said of a configuration that is allowed: in one sentence each, and of nothing else."""

from typing import Any

import pytest

from septet.models import names, takes
from septet.settings.config import OPTIONS, Config
from septet.settings.hints import of_application, of_config, of_environment

FLAGS = {option.name: option.flag for option in OPTIONS}


@pytest.mark.parametrize(
    ("variable", "value", "cure"),
    [
        ("SEPTET_WROKERS", "4", "did you mean SEPTET_WORKERS?"),
        ("SEPTET_WORKER", "4", "use --workers, --threads and --limit-concurrency"),
        ("SEPTET_LIMITBODY", "4", "did you mean SEPTET_LIMIT_BODY?"),
        ("SEPTET_workers", "4", "did you mean SEPTET_WORKERS?"),
        ("SEPTET_FORWARDED_ALOW_IPS", "none", "did you mean SEPTET_FORWARDED_ALLOW_IPS?"),
        ("SEPTET_CONFIGS", "x.toml", "did you mean SEPTET_CONFIG?"),
        ("SEPTET_PORT", "8000", "use --bind HOST:PORT"),
        ("SEPTET_HOST", "::1", "use --bind HOST:PORT"),
        ("SEPTET_CERTFILE", "a.pem", "use --tls-certificate FILE"),
        ("SEPTET_WORKER_CLASS", "gevent", "use --model; `septet models` lists them"),
    ],
)
def test_variable_that_looks_like_an_option(variable: str, value: str, cure: str) -> None:
    assert list(of_environment({variable: value})) == [
        f"the variable {variable} is not an option, and has no effect ({cure})"
    ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *((option.variable, "x") for option in OPTIONS),
        ("SEPTET_CONFIG", "x.toml"),
        ("WORKERS", "4"),
        ("PORT", "80"),
        ("MYSEPTET_WROKERS", "4"),
        ("SEPTET_", ""),
        ("SEPTET_SECRET_OF_THE_SHOP", "x"),
        # What Kubernetes sets for a service called septet, and for one called septet-bin.
        ("SEPTET_PORT", "tcp://10.0.0.1:80"),
        ("SEPTET_SERVICE_HOST", "10.0.0.1"),
        ("SEPTET_SERVICE_PORT", "80"),
        ("SEPTET_SERVICE_PORT_HTTP", "80"),
        ("SEPTET_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("SEPTET_PORT_80_TCP_PORT", "80"),
        ("SEPTET_BIN_SERVICE_HOST", "10.0.0.1"),
        ("SEPTET_BIN_PORT", "tcp://10.0.0.1:80"),
        ("SEPTET_BIN_PORT_80_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_variable_that_is_an_option_or_somebody_elses(variable: str, value: str) -> None:
    assert list(of_environment({variable: value})) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"static_cache_control": "no-store"}, "--static-cache-control has no effect without --static"),
        ({"factory": True}, "--factory has no effect without APP"),
        ({"interface": "asgi"}, "--interface has no effect without APP"),
        ({"app_dir": "/"}, "--app-dir has no effect without APP or --mount"),
        ({"asgi_extensions": ("none",)}, "--asgi-extensions has no effect without APP or --mount"),
        (
            {"forwarded_fields": "forwarded", "forwarded_allow_ips": ("none",)},
            "--forwarded-fields has no effect, because --forwarded-allow-ips is none",
        ),
        ({"tls_key": ("a.pem",)}, "--tls-key has no effect without --tls-certificate"),
        ({"tls_crl": "a.pem"}, "--tls-crl has no effect without --tls-client-ca"),
        (
            {"tls_certificate": ("a.pem",), "bind": ("http://a:1",)},
            "--tls-certificate has no effect, because --bind has http:// everywhere",
        ),
        (
            {"tls_certificate": ("a.pem",), "tls_client_ca": "b.pem"},
            "--tls-client-ca has no effect, because --tls-client-auth is none",
        ),
    ],
    ids=str,
)
def test_option_without_effect(values: dict[str, Any], said: str) -> None:
    assert list(of_config(Config(**values), FLAGS)) == [said]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"app": "a:b", "factory": True, "interface": "asgi", "app_dir": "/"},
        {"static": ("/=/",), "static_cache_control": "no-store"},
        {"forwarded_fields": "forwarded"},
        {"tls_certificate": ("a.pem",), "tls_watch": True, "bind": ("http://a:1", "unix:x.sock")},
        {"forwarded_allow_ips": ("none",)},
    ],
    ids=str,
)
def test_options_with_an_effect(values: dict[str, Any]) -> None:
    assert list(of_config(Config(**values), FLAGS)) == []


POOLS = [name for name in names() if "threads" in takes(name)]


@pytest.mark.parametrize("model", POOLS)
def test_threads_for_an_application_on_a_loop(model: str) -> None:
    for kind, said in (("wsgi", 0), ("asgi", model not in ("prethreaded", "interpreters"))):
        assert len(list(of_application(Config(model=model, threads=2), kind))) == said
        assert list(of_application(Config(model=model), kind)) == []


def test_options_of_websocket_for_a_wsgi_application() -> None:
    for changed in ({"ws": "none"}, {"ws_deflate": False}, {"ws_ping_interval": 1.0}):
        assert len(list(of_application(Config(**changed), "wsgi"))) == 1
        assert list(of_application(Config(**changed), "asgi")) == []


def test_extensions_of_asgi_for_a_wsgi_application() -> None:
    for extensions, said in ((("early_hint", "trailers"), 0), (("pathsend",), 1)):
        assert len(list(of_application(Config(asgi_extensions=extensions), "wsgi"))) == said
        assert list(of_application(Config(asgi_extensions=extensions), "asgi")) == []
