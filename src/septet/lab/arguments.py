"""Words of the command line that more than one verb takes, checked. All raise UsageError."""

from __future__ import annotations

import shlex
from pathlib import Path

from septet.errors import UsageError
from septet.lab import load as generator
from septet.lab.load import LoadError


def path(text: str | None, default: str) -> str:
    """--path: what is asked for."""
    if text is not None and not text.startswith("/"):
        raise UsageError(f"--path: {text!r} does not begin with /")
    return text or default


def scenario(file: Path | None) -> Path | None:
    """--scenario: its absolute path, after a look into it."""
    if file is None:
        return None
    try:
        generator.read_scenario(file)
    except LoadError as error:
        raise UsageError(str(error)) from None
    return file.absolute()


def serve_options(texts: tuple[str, ...]) -> tuple[str, ...]:
    """--serve-option: the words as a shell would split them."""
    try:
        return tuple(word for text in texts for word in shlex.split(text))
    except ValueError as error:
        raise UsageError(f"--serve-option: {' '.join(texts)!r} is not what a shell would accept: {error}") from None
