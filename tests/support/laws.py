"""What holds for any bytes whatsoever that a client may send: property tests and fuzzing hold the session to it.

1. Nothing is raised that the engine does not mean to raise (`Life` catches ClientGone alone).
2. It comes to an end: so many bytes make so many steps and no more.
3. It keeps no more than its limits allow.
4. However the bytes are cut, and however the application reads, the same requests are answered in the same order, and
   a connection that is refused one way is refused the other.
5. Answers are whole, and one for each request (`lives.statuses` sees to the former).
"""

from collections.abc import Iterable
from itertools import pairwise, product

from septet.http.body import MAX_CHUNK_LINE, MAX_TRAILERS
from septet.http.incoming import Limits
from support.lives import WAYS, Life

LIMITS = Limits(request_line=200, header_block=600, header_count=12)
"""So low that short inputs reach them."""

KEPT = max(LIMITS.header_block, MAX_CHUNK_LINE, MAX_TRAILERS) + 4

REFUSALS = frozenset({400, 408, 413, 414, 417, 431, 501, 505})


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces, cut at these places, modulo its length; none is empty, which would be the end."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


Manner = tuple[str, bool]
"""How the application reads (one of `WAYS`), and whether the bytes come in pieces."""

MANNERS: tuple[Manner, ...] = tuple(product(WAYS, (False, True)))


def check(data: bytes, places: list[int], manners: Iterable[Manner] = MANNERS) -> None:
    """Raise AssertionError if a law does not hold for `data`, cut at `places`, and then the client's end."""
    pieces = cut(data, places)
    lives = []
    for way, in_pieces in manners:
        life = Life(pieces if in_pieces else filter(None, [data]), way, LIMITS).live(ends=True)
        allowed = KEPT + max(map(len, pieces), default=0) if in_pieces else len(data)
        assert life.most_pending <= allowed, f"{life.most_pending} bytes are kept of {len(data)}"
        assert life.steps <= 4 * len(data) + 20, f"{life.steps} steps for {len(data)} bytes"
        assert life.closed
        check_answers(life)
        lives.append(life)
    if b"how=" in data or b"/files/" in data:  # what is not read of a body may or may not have come
        return
    for life in lives[1:]:
        assert life.seen == lives[0].seen, f"{life.seen} and {lives[0].seen}"
        assert is_refused(life) == is_refused(lives[0])


def is_refused(life: Life) -> bool:
    """An end within a body is none: it is answered where the application was told, and not where it was not called."""
    return bool(life.answers) and life.answers[-1].status != 200 and not life.broke_off


def check_answers(life: Life) -> None:
    """200 for what the application answered, in its order; then at most one refusal, and the end."""
    statuses = [answer.status for answer in life.answers]
    assert statuses.count(200) == len(life.seen)
    refused = [status for status in statuses if status != 200]
    assert len(refused) <= 1, statuses
    if refused:
        assert statuses[-1] in REFUSALS, statuses
