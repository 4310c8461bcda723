"""Parses another server's command line without that server: which words are options, values, the application."""

from collections.abc import Collection, Iterator, Mapping

from septet.errors import UsageError

APP = "app"
"""The name that stands for the application, which is an argument and no option."""


def settings_of(
    words: list[str], known: Mapping[str, object], switches: Collection[str]
) -> Iterator[tuple[str, object]]:
    """Yield the options of a command line and the application, each with its value; a switch has the value True.

    `known`: the names of all options, without leading dashes. `switches`: those that take no value. Raises UsageError
    for an unknown option, because it is not clear whether the next word is its value.
    """
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            yield APP, word
            continue
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
        else:
            name, equals, value = word[1:2], word[2:], word[2:].removeprefix("=")
        bare = name.replace("_", "-")
        if bare not in known:
            raise UsageError(f"{word!r} is no option that is known here, so what follows cannot be read")
        if bare in switches:
            yield bare, True
        elif equals:
            yield bare, value
        else:
            yield bare, _next(rest, word)


def _next(rest: Iterator[str], option: str) -> str:
    value = next(rest, None)
    if value is None:
        raise UsageError(f"{option!r} must have a value")
    return value
