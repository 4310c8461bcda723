"""The septet.toml that is made from another server's settings: its values so far, and what was left out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from septet.errors import UsageError
from septet.settings.checks import check
from septet.settings.config import OPTIONS, Config
from septet.settings.other_servers import table
from septet.settings.sources import toml_value

_BY_NAME = {option.name: option for option in OPTIONS}


@dataclass
class Draft:
    """Collects the file that `septet migrate` prints, and sentences about what is not in it."""

    values: dict[str, Any] = field(default_factory=dict)
    """The values of our options by name, as TOML has them."""
    left_out: list[str] = field(default_factory=list)
    """One sentence for each setting that is left out."""
    given: dict[str, Any] = field(default_factory=dict)
    """All settings of the other server, by their names with dashes, for conversions that depend on several."""

    def put(self, name: str, key: str, value: Any) -> None:
        """Set our option `key` to a value converted from the other server's setting `name`. A value that is not allowed
        is left out. For an option that may be repeated, values are added to those that are set.
        """
        option = _BY_NAME.get(key)
        if option is None:
            self.leave(name, f"this version of Septet has no --{key.replace('_', '-')}")
            return
        try:
            value = option.from_toml(value)
            for one in value if option.kind is tuple else (value,):
                option.check(one)
        except ValueError as error:
            self.leave(name, f"{option.flag} would be {value!r}, but {error}")
            return
        if option.kind is tuple:
            value = tuple(dict.fromkeys((*self.values.get(key, ()), *value)))
        self.values[key] = value

    def leave(self, name: str, why: str) -> None:
        """Add a sentence that the other server's setting `name` is left out."""
        self.left_out.append(f"{name} is left out: {why}")

    def remark(self, sentence: str) -> None:
        self.left_out.append(sentence)

    def toml(self) -> str:
        """Return the text of the file. Raises UsageError if the options contradict each other."""
        check(Config(**self.values), {name: name for name in _BY_NAME})
        lines: list[str] = []
        for section, options in groupby(OPTIONS, key=lambda option: option.section):
            mine = [
                f"{each.name} = {toml_value(self.values[each.name])}" for each in options if each.name in self.values
            ]
            lines += [*([""] if lines and mine else []), *([f"# {section}"] if mine else []), *mine]
        return "\n".join([*lines, ""])


Conversion = str | Callable[[Draft, str, Any], None]
"""How a setting is converted: the name of our option that takes the same value, or a function that is called with the
draft, the setting's name in the other server, and its value.
"""


def convert(
    draft: Draft, server: str, settings: Iterable[tuple[str, Any]], conversions: Mapping[str, Conversion]
) -> None:
    """Convert the settings of another server, given as (name, value), into the draft of septet.toml. Names may have
    underscores or dashes.

    `conversions`: how to convert each, by name with dashes. A setting without a conversion is left out, with the reason
    that the table of `server` gives. A setting that is None is ignored, and one that is False or empty, too, if it has
    no conversion.
    """
    reasons = table(server)
    settings = list(settings)
    draft.given |= {name.replace("_", "-"): value for name, value in settings}
    for name, value in settings:
        bare = name.replace("_", "-")
        conversion = conversions.get(bare)
        if value is None or (conversion is None and not value):
            continue
        if conversion is None:
            draft.leave(name, reasons.get(bare) or f"it is no option of {server} that is known here")
        elif isinstance(conversion, str):
            draft.put(name, conversion, value)
        else:
            conversion(draft, name, value)


def number(text: Any, kind: type = int) -> Any:
    """Return a number that may be given as text; text that is not a number is returned unchanged, and `Draft.put`
    refuses it.
    """
    if isinstance(text, str):
        try:
            return kind(text)
        except ValueError:
            return text
    return text


def whole(key: str) -> Conversion:
    """Return a conversion to our option `key`, whose value is a whole number that may be given as text."""
    return lambda draft, name, value: draft.put(name, key, number(value))


def seconds(key: str) -> Conversion:
    """Return a conversion to our option `key`, whose value is a number of seconds; 0 is left out if the option does not
    allow it.
    """
    return lambda draft, name, value: draft.put(name, key, number(value, float))


def application(draft: Draft, name: str, value: Any) -> None:
    """Set our option for the application from `value`: MODULE:ATTRIBUTE, or MODULE, whose attribute `application` is
    meant then. If either ends with "()", it names a factory that is called without arguments, and our option `factory`
    is set as well.
    """
    text = str(value)
    if text.endswith("()"):
        draft.put(name, "factory", True)
        text = text.removesuffix("()")
    draft.put(name, "app", text if ":" in text else f"{text}:application")


def level(draft: Draft, name: str, value: Any) -> None:
    """Set our option `log_level` to the level that the other server's setting `name` has."""
    names = {"critical": "error", "warn": "warning", "notset": "debug", "trace": "debug"}
    lower = str(value).lower()
    draft.put(name, "log_level", names.get(lower, lower))


def peers(draft: Draft, name: str, value: Any) -> None:
    """Set our option for the trusted proxies from a list, or from text separated by commas."""
    words = value.split(",") if isinstance(value, str) else list(value)
    stripped = [str(word).strip() for word in words]
    draft.put(name, "forwarded_allow_ips", [word for word in stripped if word] or ["none"])


def client_auth(draft: Draft, name: str, value: Any) -> None:
    """Set our option whether clients must show a certificate, from a number of ssl.VerifyMode (0: no, 1: optional, 2:
    required).
    """
    words = {0: "none", 1: "optional", 2: "required"}
    draft.put(name, "tls_client_auth", words.get(number(value), str(value)))


def refused(error: UsageError) -> str:
    """Return a sentence that says that the file would not be accepted, with the reason in `error`."""
    return f"the file would not be accepted: {error}"
