"""Coverage-guided fuzzing of the session: whatever bytes a client sends, the laws of `tests/support/laws.py` hold.

The input is what the client sends. Where it is cut follows from its bytes, so that the cases of the corpus can be seeds
and a finding is one file: `python fuzz/fuzz_session.py FILE` runs it again.
"""

import random
import sys
import zlib
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

with atheris.instrument_imports(include=["septet"]):
    from septet.http.request_head import parse_request
    from support.laws import check
    from support.lives import WAYS

MOST_CUTS = (1, 4, 1 << 12)


def test_one_input(data: bytes) -> None:
    source = random.Random(zlib.crc32(data))
    count = min(source.choice(MOST_CUTS), 2 * len(data))
    places = [source.randrange(1 << 16) for _ in range(count)]
    check(data, places, [(source.choice(WAYS), False), (source.choice(WAYS), True)])


def gain_experience() -> None:
    """Heads that differ in a value: from then on their other lines, and their names, are looked up."""
    for number in range(64):
        parse_request([b"GET / HTTP/1.1", b"Host: a.test", b"A: %d" % number, b"Cookie: %d" % number])


if __name__ == "__main__":
    gain_experience()
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
