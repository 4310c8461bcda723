"""Options: the metadata of the fields of `Config`, and the conversion of text and TOML values to a field's type.

An option is written once, as a field. Its spellings on the command line, in the environment and in a file follow from
the field's name, its type from the annotation, and the allowed values from its rule. A rule rejects a value by a
ValueError whose text ("must be ...") completes the sentence that names the option and the value.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from septet.settings.units import Units

T = TypeVar("T")

_TRUTHS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)


class Rule(Protocol):
    """A check of an option's value, which is called when the value has the right type."""

    def allowed(self) -> str:
        """Return the allowed values in words, to follow "must be"."""

    def check(self, value: Any) -> object:
        """Raise ValueError("must be ...") if `value` is not allowed. What it returns is not used."""


@dataclass(frozen=True, slots=True)
class Number:
    """A rule: a number from `minimum` to `maximum`, both included. `noun` says what it is, "a number of seconds"."""

    noun: str
    minimum: float
    maximum: float = math.inf
    units: Units | None = None
    """The units with which text may give the number; None: it has none."""

    def allowed(self) -> str:
        upper = "" if self.maximum == math.inf else f" to {self.maximum}"
        units = f", {self.units.words}" if self.units else ""
        return f"{self.noun} from {self.minimum}{upper}{units}"

    def check(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:  # NaN is not between any two numbers
            raise ValueError(f"must be {self.allowed()}")


@dataclass(frozen=True, slots=True)
class OneOf:
    """A rule: one of several names. `names` is a function that returns them; it is called only when they are needed,
    because the one for the models reads a directory.
    """

    names: Callable[[], tuple[str, ...]]

    def allowed(self) -> str:
        return f"one of {', '.join(self.names())}"

    def check(self, value: str) -> None:
        if value not in self.names():
            is_word = any(map(str.isalpha, value))  # a number such as 1.1 is no misspelled 1.3
            hint = did_you_mean(value, self.names()) if is_word else ""
            raise ValueError(f"must be {self.allowed()}{hint}")


@dataclass(frozen=True, slots=True)
class Spelled:
    """A rule: text that `parse` accepts. `parse` raises ValueError("must be ...") for other texts.

    `syntax` describes the texts in the help and on the reference page, to follow "must be".
    """

    syntax: str
    parse: Callable[[str], object]

    def allowed(self) -> str:
        return self.syntax

    def check(self, value: str) -> None:
        self.parse(value)


def did_you_mean(word: str, words: Iterable[str], prefix: str = "", ratio: float = 0.6) -> str:
    """Return ` (did you mean X?)` for the word X among `words` that is closest to `word`, upper and lower case ignored.
    Empty if no word has a similarity (difflib) of `ratio` or more. `prefix` is put before X.
    """
    import difflib  # takes 3 ms to import, and only mistakes need it

    by_lower = {each.lower(): each for each in words}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=ratio)
    return f" (did you mean {prefix}{by_lower[close[0]]}?)" if close else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One field of `Config`, as the command line, the environment, the file and the reference page know it."""

    name: str
    kind: type  # str, int, float, bool, or tuple: several of str
    default: Any
    section: str
    help: str
    rule: Rule | None
    metavar: str
    unset: str
    """What it means if the option is not given, in words. For options whose default is None or ()."""
    needs: str
    """Names of options without which this one has no effect, separated by blanks; one of them is enough. "": there are
    none.
    """

    @property
    def flag(self) -> str:
        """Spelling of the option on the command line, such as "--limit-body". The application is an argument, so it has
        no dashes."""
        return "APP" if self.name == "app" else "--" + self.name.replace("_", "-")

    def placeholder(self) -> str:
        """Return what stands for the value in `--help`, such as `SECONDS` or `auto|wsgi|asgi`."""
        return "|".join(self.rule.names()) if isinstance(self.rule, OneOf) else self.metavar

    @property
    def variable(self) -> str:
        return "SEPTET_" + self.name.upper()

    def allowed(self) -> str:
        """Return the allowed values in words."""
        if self.kind is bool:
            return "true or false (1 or 0, yes or no, on or off)"
        return self.rule.allowed() if self.rule else "text"

    def from_words(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """Return the value of an option that may be repeated, given its words, one for each time. Raises
        ValueError("must be ...").
        """
        return tuple(map(_utf8, words))

    def from_text(self, text: str) -> Any:
        """Convert a word of the command line, or the value of a variable, to the option's type. Raises ValueError("must
        be ...").
        """
        if self.kind is tuple:
            return self.from_words(tuple(word for word in re.split(r"[,\s]+", text) if word))
        if self.kind is str:
            return _utf8(text)
        try:
            return _TRUTHS[text.lower()] if self.kind is bool else self.kind(text)
        except (ValueError, KeyError):
            if (number := self._with_unit(text)) is not None:
                return number
            raise ValueError(f"must be {self.allowed()}") from None

    def from_toml(self, value: object) -> Any:
        """Convert a value from a TOML file to the option's type. Raises ValueError("must be ...")."""
        if self.kind is tuple:
            return self._strings(value)
        if (convert := getattr(self.kind, "from_toml", None)) is not None:
            try:
                return convert(value)
            except ValueError:
                raise ValueError(f"must be {self.allowed()}") from None
        if self.kind is float and type(value) is int and abs(value) < 2**53:  # a float holds no larger number exactly
            return float(value)
        if isinstance(value, str) and (number := self._with_unit(value)) is not None:
            return number
        if type(value) is not self.kind:  # not isinstance: True is an int
            wanted = "true or false" if self.kind is bool else self.allowed()
            raise ValueError(f"must be {wanted}")
        return value

    def _with_unit(self, text: str) -> Any:
        """Return the number that `text`, such as "16M", means; None if it is none, or the option has no units."""
        if not isinstance(self.rule, Number) or self.rule.units is None:
            return None
        try:
            return self.kind(self.rule.units.parse(text))
        except ValueError:
            return None

    def _strings(self, value: object) -> tuple[str, ...]:
        several = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in several):
            raise ValueError(f"must be a list of strings, each {self.allowed()}")
        return tuple(several)

    def check(self, value: Any) -> None:
        """Raise ValueError("must be ...") unless the option's rule allows `value`. For an option that may be repeated,
        `value` is one of its values.
        """
        if self.rule is not None and value is not None:
            self.rule.check(value)


def _utf8(text: str) -> str:
    """Return `text` unchanged. Raises ValueError if it has bytes that are not UTF-8 (PEP 383), which TOML cannot
    contain.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8") from None
    return text


def option(
    default: T,
    section: str,
    help: str,
    *,
    rule: Rule | None = None,
    metavar: str = "",
    unset: str = "",
    needs: str = "",
) -> T:
    """Make a field of `Config` with its metadata. The return type is that of `default`, so that type checkers compare
    it with the field's annotation.

    The arguments are the fields of `Option`.
    """
    described = {"section": section, "help": help, "rule": rule, "metavar": metavar, "unset": unset, "needs": needs}
    return dataclasses.field(default=default, metadata=described)


def options_of(config: type) -> tuple[Option, ...]:
    """Return the options that the fields of `config` describe, in the order of the fields."""
    hints = typing.get_type_hints(config)
    return tuple(
        Option(name=field.name, kind=_kind(hints[field.name]), default=field.default, **field.metadata)
        for field in dataclasses.fields(config)
    )


def _kind(hint: Any) -> type:
    """Return the type of an option by its annotation: `int` for `int | None`, `tuple` for `tuple[str, ...]`, and a
    plain type for itself.
    """
    if isinstance(hint, types.UnionType):
        hint = next(member for member in typing.get_args(hint) if member is not types.NoneType)
    kind: type = typing.get_origin(hint) or hint
    return kind
