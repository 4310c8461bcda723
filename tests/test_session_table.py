"""A session driven at random, as carriers and applications do: each change of phase is in the table."""

import io

from hypothesis import given, settings
from hypothesis import strategies as st

from septet.exchange import ClientGone, Want
from septet.http.incoming import Limits
from septet.protocol import CLOSE, READ, RUN, WRITE
from septet.proxies.filter import UntrustedFieldFilter
from septet.rules import Rules
from support.carrier import Watched, ok
from support.messages import chunked, render

CHUNKED = render("POST", "/", "Transfer-Encoding: chunked")

PIECES = st.sampled_from(
    [
        render("GET", "/"),
        render("GET", "/")[:10],
        render("GET", "/")[10:],
        render("GET", "/", "Connection: close"),
        render("HEAD", "/", version="1.0"),
        render("POST", "/", body=b"12345"),
        render("POST", "/", "Content-Length: 5", "Expect: 100-continue"),
        render("POST", "/", "Content-Length: 999999"),
        CHUNKED,
        CHUNKED + chunked(b"12345", 2),
        b"5\r\n12345\r\n",
        b"0\r\n\r\n",
        b"12345",
        b"\r\n",
        b"\r",
        b"\n",
        b"nonsense\r\n\r\n",
        b"PROXY UNKNOWN\r\n",
        render("GET", "/", "X-Forwarded-For: 203.0.113.9"),
        render("GET", "/", "X-Forwarded-For: nonsense"),
        b"a" * 2000,
        b"",
    ]
)


def trusted(peer: str) -> bool:
    return True


RULES = st.builds(
    lambda body, spool, expects_proxy_header: Rules(
        limits=Limits(1000, 2000, 10, body),
        spool=spool,
        filter_untrusted=UntrustedFieldFilter(trusted),
        expects_proxy_header=expects_proxy_header,
    ),
    st.sampled_from([0, 9]),
    st.sampled_from([None, io.BytesIO]),
    st.sampled_from([None, trusted]),
)
PARTS = st.sampled_from([b"", b"a", b"hello" * 20])
HEADS = st.sampled_from([ok(), ok((b"Content-Length", b"5")), ok((b"Connection", b"close"))])


class Driver:
    """Chooses the next event at random among those that may happen, and checks what must hold after it."""

    def __init__(self, session: Watched, data: st.DataObject) -> None:
        self.session = session
        self.data = data

    def step(self) -> None:
        session = self.session
        verbs = {READ: self._client, WRITE: self._socket, RUN: self._application, CLOSE: self._end}
        now = session.want
        happening = self.data.draw(st.sampled_from(["the usual"] * 8 + ["stop", "lose", "time", "early bytes"]))
        if happening == "stop":
            self._check(session.stop())
        elif happening == "lose":
            self._check(session.lose())
        elif happening == "time" and session.deadline(0.0) is not None:
            self._check(session.expire())
        elif happening == "early bytes" and now in (RUN, WRITE) and not session.http.ended:
            self._check(session.receive(self.data.draw(PIECES)))
        else:
            verbs[now]()

    def _check(self, want: Want) -> None:
        session = self.session
        assert want is session.want
        assert (want is WRITE) == bool(session.output or session.file)
        assert (want is RUN) == (session.deadline(0.0) is None and want is not CLOSE)
        assert session.blocked == (want is WRITE)

    def _client(self) -> None:
        self._check(self.session.receive(self.data.draw(PIECES)))

    def _socket(self) -> None:
        length = len(self.session.output)
        self._check(self.session.wrote(self.data.draw(st.integers(1, length) | st.just(length))))

    def _end(self) -> None:
        was_lost = self.session.lost
        if self.session.half_close():
            assert not was_lost
            assert self.session.want is READ

    def _application(self) -> None:
        session = self.session
        part = self.data.draw(PARTS)
        what = self.data.draw(st.sampled_from(["answer", "part", "read", "fail"]))
        if what == "fail":
            self._check(session.fail())
        elif what == "read" and session.body is None:
            self._read()
        elif session.responding:
            self._check(session.push(part, what == "answer"))
        else:
            self._check(session.respond(self.data.draw(HEADS), part, what == "answer"))

    def _read(self) -> None:
        try:
            if self.session.poll() is None:
                self._check(self.session.want_body())
        except ClientGone:
            self._check(self.session.fail())


@settings(max_examples=300, deadline=None)  # examples are long: 40 steps
@given(rules=RULES, data=st.data())
def test_any_life_of_a_session_is_in_the_table(rules: Rules, data: st.DataObject) -> None:
    session = Watched(rules)
    driver = Driver(session, data)
    for _ in range(data.draw(st.integers(1, 40))):
        driver.step()
    session.lose()
    assert session.want is CLOSE
