"""What is kept of an answer when the file for it cannot be written."""

import errno
import os
from collections import deque
from types import SimpleNamespace
from typing import Any, cast

import pytest

from septet.models._run_ahead import MEMORY_BYTES, RunAhead
from septet.processes.spool import Spool


@pytest.mark.parametrize(
    ("error", "said"), [(OSError(errno.ENOSPC, "No space"), "No space"), (MemoryError(), "out of memory")]
)
def test_output_that_finds_no_file_stays_in_memory(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it, and in its order: else the answer would have to be cut."""

    def lacking(*_: object) -> int:
        raise error

    monkeypatch.setattr(os, "pwrite", lacking)
    pieces = [b"a" * MEMORY_BYTES, b"b", b"c"]
    exchange: Any = SimpleNamespace(later=deque(pieces), file=None, in_memory=MEMORY_BYTES + 2)
    ahead = RunAhead(Spool(2))
    ahead.slow = True
    assert ahead.move_to_file(cast(Any, exchange)) == said
    assert list(exchange.later) == pieces
