"""What a test needs and pip does not bring: on a CI machine it must be there, elsewhere its absence is told."""

import os
from typing import NoReturn

import pytest


def lacking(what: str, package: str) -> NoReturn:
    """Skip, or fail where CI is set: there `make test` has installed it."""
    sentence = f"{what} is not on this machine: sudo apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)
