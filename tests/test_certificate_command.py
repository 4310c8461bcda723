"""`septet certificate`: files that a server takes and a client can be told to trust, and what is refused."""

import ssl
import stat
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from septet.certificate import certificate
from septet.net.certificates import Certificates
from septet.net.tls_files import Pair, TlsOptions
from septet.settings.command import run
from support.tls import shake_hands


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def septet(*words: str) -> Result:
    return CliRunner().invoke(certificate, words, standalone_mode=False)


def test_a_server_takes_it_and_a_client_trusts_it() -> None:
    assert septet("localhost", "shop.test").return_value == 0
    server = Certificates(TlsOptions(pairs=(Pair("localhost.pem", "localhost.key"),)))
    context = ssl.create_default_context(cafile="localhost.pem")
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in ("localhost", "shop.test", "127.0.0.1", "::1"):
        shake_hands(server, context, name)
    assert stat.S_IMODE(Path("localhost.key").stat().st_mode) == 0o600


def test_files_that_are_there_stay() -> None:
    assert septet("*.shop.test").return_value == 0
    before = Path("_.shop.test.key").read_bytes()
    assert "_.shop.test.key is there already: --force replaces it" in str(septet("*.shop.test").exception)
    assert Path("_.shop.test.key").read_bytes() == before
    assert septet("*.shop.test", "--force").return_value == 0
    assert Path("_.shop.test.key").read_bytes() != before


def test_help_names_the_files_of_a_wildcard() -> None:
    text = " ".join(CliRunner().invoke(certificate, ["--help"]).output.split())
    assert "'*.shop.test' makes _.shop.test.pem and _.shop.test.key" in text


@pytest.mark.parametrize("name", ["", "a b", "../etc", "a..b", "https://a.test"])
def test_names_that_are_none(name: str, tmp_path: Path) -> None:
    assert "must be a host name (shop.test, *.shop.test) or an IP address" in str(septet(name).exception)
    assert not list(tmp_path.iterdir())


def test_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [
        name for name in sys.modules if name.partition(".")[0] == "cryptography" or name == "septet.certificate"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    from septet.cli import septet as command

    assert run(command, ["certificate", "localhost"]) == 1
    assert capsys.readouterr().err == (
        'septet: this needs the package cryptography, which is not installed: pip install "septet[tls]"\n'
    )
