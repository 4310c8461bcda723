"""The options as they are written down: whole, described and never changed."""

import dataclasses

import pytest

from septet.settings.config import OPTIONS, Config


def test_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().model = "poll"  # type: ignore[misc]


def test_every_option_is_described() -> None:
    for option in OPTIONS:
        assert option.help.endswith("."), option.name
        assert option.default not in (None, ()) or option.unset, option.name
        assert option.kind is bool or (option.rule and option.placeholder()), option.name


def test_what_an_option_needs_is_an_option() -> None:
    assert {name for option in OPTIONS for name in option.needs.split()} <= {option.name for option in OPTIONS}
