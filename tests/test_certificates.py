"""Certificates: what is refused at the start and how it is said, the choice by SNI, renewal, and clients' own."""

import datetime
import os
import resource
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, time
from typing import NoReturn

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from septet.errors import UsageError
from septet.net.certificates import Certificates
from septet.net.tls_files import Pair, TlsOptions
from support.tls import Authority, Files, shake_hands


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def pair(files: Files, password: Path | None = None) -> Pair:
    return Pair(str(files.certificate), str(files.key), str(password) if password else None)


def certificates(*files: Files, **options: object) -> Certificates:
    return Certificates(TlsOptions(pairs=tuple(map(pair, files)), **options))  # type: ignore[arg-type]


def names(server: Certificates, asked: str | None, authority: Authority, **attributes: object) -> set[str]:
    """The names in the certificate that a client is shown."""
    context = authority.client_context(check_hostname=False, **attributes)
    client, _ = shake_hands(server, context, asked)
    return {value for _, value in client.getpeercert()["subjectAltName"]}  # type: ignore[index, misc, union-attr]


def test_sni_chooses(authority: Authority) -> None:
    first, second = authority.issue("a.test"), authority.issue("*.b.test", "b.test")
    server = certificates(first, second)
    assert names(server, "b.test", authority) == {"*.b.test", "b.test"}
    assert names(server, "X.B.test", authority) == {"*.b.test", "b.test"}
    for other in (None, "a.test", "x.y.b.test", "c.test", "test"):
        assert names(server, other, authority) == {"a.test"}


def test_key_with_its_certificate_in_one_file(authority: Authority) -> None:
    both = authority.issue("both.test").both
    assert Pair.of([str(both)], [], []) == (Pair(str(both), str(both)),)
    server = Certificates(TlsOptions(pairs=Pair.of([str(both)], [], [])))
    assert names(server, None, authority) == {"both.test"}


def encrypted(files: Files, password: bytes) -> Files:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    path = files.key.with_suffix(".encrypted.pem")
    cipher = serialization.BestAvailableEncryption(password)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(pem, pkcs8, cipher))
    return Files(files.certificate, path, files.both)


def test_password(authority: Authority, tmp_path: Path) -> None:
    files = encrypted(authority.issue("locked.test"), b"open sesame")
    password = tmp_path / "password"
    password.write_bytes(b"open sesame\n")
    server = Certificates(TlsOptions(pairs=(pair(files, password),)))
    assert names(server, None, authority) == {"locked.test"}
    password.write_bytes(b"wrong\n")
    with pytest.raises(UsageError, match=f"--tls-key-password-file is '{password}', but must have the password"):
        Certificates(TlsOptions(pairs=(pair(files, password),)))
    with pytest.raises(UsageError, match=f"--tls-key is '{files.key}', which is encrypted: .*--tls-key-password-file"):
        certificates(files)


def bad_files(authority: Authority, directory: Path) -> Iterator[tuple[Pair, str]]:
    good, other = authority.issue("good.test"), authority.issue("other.test")
    text = directory / "text.pem"
    text.write_text("hello")
    past, future = datetime.datetime(2020, 1, 1), datetime.datetime(2090, 1, 1)
    expired = authority.issue("expired.test", not_after=past)
    early = authority.issue("early.test", not_before=future)
    nonsense = directory / "nonsense.pem"
    nonsense.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    certificate, key = str(good.certificate), str(good.key)
    yield Pair("none.pem", key), "--tls-certificate is 'none.pem', but must be a file that can be read: No such file"
    yield Pair(certificate, "none.pem"), "--tls-key is 'none.pem', but must be a file that can be read: No such file"
    yield Pair(certificate, str(directory)), "--tls-key is .*, but must be a file that can be read: Is a directory"
    yield Pair(certificate, key, "no.txt"), "--tls-key-password-file is 'no.txt', but must be a file that can be read"
    yield Pair(str(text), key), f"--tls-certificate is '{text}', but must have a certificate in PEM"
    yield Pair(certificate, str(text)), f"--tls-key is '{text}', but must have a private key in PEM"
    yield (
        Pair(certificate, certificate),
        f"--tls-certificate '{certificate}' has no private key: give --tls-key$",
    )
    yield Pair(certificate, str(other.key)), f"'{other.key}', but must be the key of the certificate '{certificate}'"
    yield pair(expired), f"--tls-certificate is '{expired.certificate}', which has expired"
    yield pair(early), f"--tls-certificate is '{early.certificate}', which is not valid yet"
    yield Pair(str(nonsense), key), f"--tls-certificate '{nonsense}' with --tls-key '{key}' cannot be used"


def test_bad_files_are_named_in_one_sentence(authority: Authority, tmp_path: Path) -> None:
    for bad, sentence in bad_files(authority, tmp_path):
        with pytest.raises(UsageError, match=sentence) as caught:
            Certificates(TlsOptions(pairs=(bad,)))
        assert "\n" not in str(caught.value)


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged since the last call, without the dates."""
    found = [record.message.partition(", at ")[0] for record in caplog.records]
    caplog.clear()
    return found


DAY_S = 86400


def in_days(days: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days, minutes=1)


def test_a_certificate_that_expires_soon_is_named(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    """Soon is within two weeks, and within the last quarter of its time."""
    soon = authority.issue("soon.test", not_before=in_days(-87), not_after=in_days(3))
    late = authority.issue("late.test", not_before=in_days(-70), not_after=in_days(20))
    short = authority.issue("short.test", not_before=in_days(-2), not_after=in_days(4))
    renews = authority.issue("renews.test", not_before=in_days(-5), not_after=in_days(1))
    certificates(soon, late, short, renews)
    assert logged(caplog) == [
        f"SEP172 the certificate {soon.certificate} expires in 3 days",
        f"SEP172 the certificate {renews.certificate} expires in 1 day",
    ]


def test_a_warning_is_repeated_once_a_day_and_at_the_end(
    authority: Authority, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In all processes together: a child that was forked logs none when its parent has."""
    now = time()
    soon = authority.issue("soon.test", not_before=in_days(-87), not_after=in_days(3))
    monkeypatch.setattr("septet.net.certificates.WATCH_S", 0.0)
    server = certificates(soon)
    named = f"SEP172 the certificate {soon.certificate}"
    assert logged(caplog) == [f"{named} expires in 3 days"]

    def at(seconds: float) -> list[str]:
        monkeypatch.setattr("septet.net.certificates.time", lambda: now + seconds)
        server.look()
        return logged(caplog)

    assert at(DAY_S - 1) == []
    assert at(DAY_S + 1) == [f"{named} expires in 2 days"]
    assert at(2 * DAY_S) == []
    child = os.fork()
    if not child:
        os._exit(len(at(2.5 * DAY_S)))
    assert os.waitpid(child, 0)[1] == 1 << 8, "the child warns"
    assert at(2.6 * DAY_S) == []
    assert at(3.1 * DAY_S) == [f"{named} has expired"]
    assert at(3.2 * DAY_S) == []


def test_a_certificate_without_alternative_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old.test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(in_days(-1)).not_valid_after(in_days(90))
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "old.pem"
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem) + private)
    server = Certificates(TlsOptions(pairs=Pair.of([str(path)], [], [])))
    assert logged(caplog) == [f"SEP174 the certificate {path} has no subjectAltName: browsers refuse it"]
    assert server.reload()
    assert "SEP174" not in caplog.text


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("ciphers", "NONSENSE", "--tls-ciphers is 'NONSENSE', but must be a list of ciphers that OpenSSL knows"),
        ("client_ca", "none.pem", "--tls-client-ca is 'none.pem', but must be a file that can be read"),
        ("client_ca", __file__, "--tls-client-ca is .* but must have certificates in PEM"),
        ("crl", __file__, "--tls-crl is .*, but must have lists of revoked certificates"),
    ],
)
def test_other_bad_values(authority: Authority, option: str, value: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        certificates(authority.issue("good.test"), **{option: value})


def test_versions_and_ciphers(authority: Authority) -> None:
    files = authority.issue("good.test")
    old = authority.client_context(check_hostname=False, maximum_version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        shake_hands(certificates(files, min_version="1.3"), old, None)
    client, _ = shake_hands(certificates(files, ciphers="ECDHE+CHACHA20"), old, None)
    assert client.cipher()[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"  # type: ignore[index]


def test_renewal_serves_new_handshakes_and_leaves_old_connections(authority: Authority, tmp_path: Path) -> None:
    own = Authority(tmp_path / "own")
    files = own.issue("one.test")
    server = certificates(files)
    client, connection = shake_hands(server, own.client_context(check_hostname=False), None)
    own.issue("one.test", "two.test")  # writes the same files
    assert names(server, None, own) == {"one.test"}
    assert server.reload()
    assert names(server, None, own) == {"one.test", "two.test"}
    connection.write(b"as before")
    assert client.read(100) == b"as before"


def test_bad_renewal_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = Authority(tmp_path / "own")
    files = own.issue("one.test")
    server = certificates(files)
    files.key.write_bytes(own.issue("two.test").key.read_bytes())
    assert not server.reload()
    stay = "SEP171 the certificates were not renewed, and those before stay in use"
    assert f"{stay}: --tls-key is '{files.key}', but must be the key" in caplog.text
    assert names(server, None, own) == {"one.test"}


def test_session_is_resumed_after_renewal(tmp_path: Path) -> None:
    own = Authority(tmp_path / "own")
    server = certificates(own.issue("one.test"))
    context = own.client_context(check_hostname=False)
    client, _ = shake_hands(server, context, None)
    own.issue("one.test", "two.test")
    server.reload()
    _, connection = shake_hands(server, context, None, client.session)
    assert connection.session_reused


@pytest.mark.parametrize("age_s", [0, 10])
def test_files_are_loaded_when_they_have_changed_and_settled(
    tmp_path: Path, age_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Authority(tmp_path / "own")
    server = certificates(own.issue("one.test"), watch=True)
    monkeypatch.setattr("septet.net.certificates.WATCH_S", 0.0)
    own.issue("one.test", "two.test")
    changed = max(path.stat().st_ctime for path in own.directory.iterdir())
    monkeypatch.setattr("septet.net.certificates.time", lambda: changed + age_s)
    server.look()
    assert names(server, None, own) == ({"one.test", "two.test"} if age_s else {"one.test"})


@contextmanager
def no_descriptor() -> Iterator[None]:
    """Every descriptor that this process may have is in use."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 + max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
    held = []
    try:
        with suppress(OSError):
            while True:
                held.append(os.dup(2))
        yield
    finally:
        for each in held:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_renewal_that_failed_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No file changes in between. It is said once, until the files are in use."""
    own = Authority(tmp_path / "own")
    server = certificates(own.issue("one.test"), watch=True)
    monkeypatch.setattr("septet.net.certificates.WATCH_S", 0.0)
    for renewed in ("two.test", "three.test"):
        own.issue("one.test", renewed)
        changed = max(path.stat().st_ctime for path in own.directory.iterdir())
        monkeypatch.setattr("septet.net.certificates.time", lambda at=changed: at + 10)
        caplog.clear()
        with no_descriptor():
            for _ in range(5):
                server._retry_at = 0.0
                server.look()
        assert caplog.text.count("SEP171") == 1
        assert "Too many open files" in caplog.text
        server._retry_at = 0.0
        server.look()
        assert names(server, None, own) == {"one.test", renewed}
    assert caplog.text.count("SEP171") == 1


def test_every_mistake_in_the_same_files_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = Authority(tmp_path / "own")
    files = own.issue("one.test")
    server = certificates(files, watch=True)
    monkeypatch.setattr("septet.net.certificates.WATCH_S", 0.0)
    files.key.write_bytes(own.issue("two.test").key.read_bytes())
    monkeypatch.setattr("septet.net.certificates.time", lambda: files.key.stat().st_ctime + 10)
    for _ in range(3):
        server._retry_at = 0.0
        server.look()
        with no_descriptor():
            server._retry_at = 0.0
            server.look()
    assert caplog.text.count("SEP171") == 2
    assert "must be the key" in caplog.text
    assert "Too many open files" in caplog.text


def test_files_that_stay_bad_take_a_hundredth_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A hundred certificates take some 200 ms, in which no client is served."""
    own = Authority(tmp_path / "own")
    files = own.issue("one.test")
    server = certificates(files, watch=True)
    files.key.unlink()
    now, loads = [monotonic() + 10], []

    def load_slowly(options: TlsOptions) -> NoReturn:
        loads.append(now[0])
        now[0] += 0.2
        raise UsageError("made up")

    monkeypatch.setattr("septet.net.certificates.load", load_slowly)
    monkeypatch.setattr("septet.net.certificates.monotonic", lambda: now[0])
    monkeypatch.setattr("septet.net.certificates.time", lambda: files.certificate.stat().st_ctime + 10)
    for _ in range(1000):
        now[0] += 0.1
        server.look()
    assert 5 <= len(loads) <= 7
    assert caplog.text.count("SEP171") == 1


def revoked(own: Authority, files: Files, path: Path, ends: datetime.datetime | None = None) -> Path:
    """A list that revokes the certificate. `ends`: when the next list is due; else tomorrow."""
    issuer = own.authority
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    key = serialization.load_pem_private_key(issuer.private_key_pem.bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = in_days(-10)
    one = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(now).build()
    builder = x509.CertificateRevocationListBuilder().issuer_name(certificate.issuer).last_update(now)
    made = builder.next_update(ends or in_days(1)).add_revoked_certificate(one).sign(key, hashes.SHA256())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


def test_clients_certificates(tmp_path: Path) -> None:
    own, strangers = Authority(tmp_path / "own"), Authority(tmp_path / "strangers")
    files, ada, bob = own.issue("one.test"), own.issue("ada@one.test"), own.issue("bob@one.test")
    how = {"client_ca": str(own.pem), "crl": str(revoked(own, bob, tmp_path / "crl.pem"))}

    def accepts(server: Certificates, client: Files | None) -> bool:
        context = own.client_context(check_hostname=False)
        if client:
            context.load_cert_chain(client.both)
        try:
            _, connection = shake_hands(server, context, None)
        except ssl.SSLError:
            return False
        return (connection.getpeercert() or {}).get("subjectAltName") == (
            (("email", "ada@one.test"),) if client else None
        )

    required, optional = (certificates(files, client_auth=auth, **how) for auth in ("required", "optional"))
    stranger = strangers.issue("ada@one.test")
    assert [accepts(required, each) for each in (ada, bob, stranger, None)] == [True, False, False, False]
    assert [accepts(optional, each) for each in (ada, bob, stranger, None)] == [True, False, False, True]


def test_a_list_of_revoked_certificates_that_expires_soon(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each of the file counts, in both forms of a date (from 2050 on it is GeneralizedTime)."""
    own, other = Authority(tmp_path / "own"), Authority(tmp_path / "other")
    files = own.issue("one.test")
    crl = tmp_path / "crl.pem"
    lists = [
        revoked(authority, authority.issue("bob@one.test"), crl, ends).read_bytes()
        for authority, ends in ((own, in_days(30)), (other, datetime.datetime(2090, 1, 1)), (own, in_days(0.9)))
    ]
    how = {"client_auth": "required", "client_ca": str(own.pem), "crl": str(crl)}
    named = f"SEP173 the list of revoked certificates {crl}"
    crl.write_bytes(b"".join(lists[:2]))
    certificates(files, **how)
    assert logged(caplog) == []
    crl.write_bytes(b"Some text.\n" + b"".join(lists))
    certificates(files, **how)
    assert logged(caplog) == [f"{named} expires in 21 hours"]
    certificates(files, client_ca=str(own.pem), crl=str(crl))
    assert logged(caplog) == [], "clients are not asked for certificates"
    revoked(own, files, crl, in_days(-1))
    server = certificates(files, **how)
    assert logged(caplog) == [f"{named} has expired"]
    context = own.client_context(check_hostname=False)
    context.load_cert_chain(own.issue("ada@one.test").both)
    with pytest.raises(ssl.SSLError, match="CRL has expired"):
        shake_hands(server, context, None)


def test_a_revoked_client_resumes_no_session(tmp_path: Path) -> None:
    own = Authority(tmp_path / "own")
    files, bob = own.issue("one.test"), own.issue("bob@one.test")
    crl = revoked(own, own.issue("ada@one.test"), tmp_path / "crl.pem")
    server = certificates(files, client_auth="required", client_ca=str(own.pem), crl=str(crl))
    context = own.client_context(check_hostname=False)
    context.load_cert_chain(bob.both)
    client, _ = shake_hands(server, context, None)
    session = client.session
    revoked(own, bob, crl)
    server.reload()
    with pytest.raises(ssl.SSLError):
        shake_hands(server, context, None, session)


def test_a_certificate_among_the_revocation_lists_becomes_no_authority(tmp_path: Path) -> None:
    """A program that may write the lists must not be able to say whose clients are accepted."""
    own, strangers = Authority(tmp_path / "own"), Authority(tmp_path / "strangers")
    files = own.issue("one.test")
    crl = revoked(own, own.issue("bob@one.test"), tmp_path / "crl.pem")
    lists = crl.read_bytes()
    how = {"client_auth": "required", "client_ca": str(own.pem), "crl": str(crl)}
    server = certificates(files, **how)
    foreign = strangers.pem.read_bytes()
    trusted = foreign.replace(b" CERTIFICATE-", b" TRUSTED CERTIFICATE-")  # as `openssl x509 -trustout` writes it
    for text in (lists + foreign, foreign + lists, lists + trusted, lists + own.pem.read_bytes()):
        crl.write_bytes(text)
        with pytest.raises(UsageError, match=f"--tls-crl is '{crl}', but must have no certificates, only lists"):
            certificates(files, **how)
        assert not server.reload()
    crl.write_bytes(b"These were fetched today.\n" + lists)
    assert server.reload()


def test_what_is_no_list_of_revoked_certificates(tmp_path: Path) -> None:
    own = Authority(tmp_path / "own")
    files = own.issue("one.test")
    empty, crl = tmp_path / "empty.pem", revoked(own, files, tmp_path / "crl.pem")
    empty.touch()
    cut = tmp_path / "cut.pem"
    cut.write_bytes(crl.read_bytes()[:-50])
    for path in (empty, cut, own.pem, files.key):
        with pytest.raises(UsageError, match=f"--tls-crl is '{path}', but must have lists of revoked certificates"):
            certificates(files, client_auth="required", client_ca=str(own.pem), crl=str(path))
    for path, why in ((tmp_path / "none.pem", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError, match=f"--tls-crl is '{path}', but must be a file that can be read: {why}"):
            certificates(files, client_auth="required", client_ca=str(own.pem), crl=str(path))
    with pytest.raises(UsageError, match=f"--tls-client-ca is '{crl}', but must have certificates in PEM"):
        certificates(files, client_auth="required", client_ca=str(crl))


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    """A server that renews its certificates must not wait for somebody to write into a named pipe."""
    own = Authority(tmp_path / "own")
    files = own.issue("one.test")
    server = certificates(files)
    for path in (files.certificate, files.key):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    with pytest.raises(UsageError, match="but must be a regular file"):
        certificates(files)
    assert not server.reload()


def test_no_file_is_left_open(authority: Authority) -> None:
    before = len(os.listdir("/proc/self/fd"))
    certificates(authority.issue("good.test"), client_ca=str(authority.pem), client_auth="optional")
    assert len(os.listdir("/proc/self/fd")) == before
