"""Coverage-guided fuzzing of answers: whatever an application says, what goes out is one answer, and what it said.

Either the head is refused (ValueError), or h11, which is strict about answers, reads exactly the status, the fields and
the content from the bytes: nothing that an application passes on can become a field or an answer of its own.
"""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

with atheris.instrument_imports(include=["septet"]):
    from support.answers import Said, check

METHODS = ("GET", "HEAD", "POST")


def test_one_input(data: bytes) -> None:
    source = atheris.FuzzedDataProvider(data)
    said = Said(
        method=source.PickValueInList(list(METHODS)),
        version=source.PickValueInList(["1.0", "1.1"]),
        status=source.ConsumeIntInRange(90, 610),
        reason=_bytes(source, 8),
        fields=tuple((_name(source), _bytes(source, 12)) for _ in range(source.ConsumeIntInRange(0, 4))),
        parts=tuple(_bytes(source, 20) for _ in range(source.ConsumeIntInRange(1, 4))),
    )
    check(said)


def _bytes(source: atheris.FuzzedDataProvider, most: int) -> bytes:
    return bytes(source.ConsumeBytes(source.ConsumeIntInRange(0, most)))


def _name(source: atheris.FuzzedDataProvider) -> bytes:
    """Any bytes, or a name that means something to us."""
    known = [b"", b"Content-Length", b"Connection", b"Transfer-Encoding", b"Date", b"X-A"]
    return source.PickValueInList(known) or _bytes(source, 12)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
