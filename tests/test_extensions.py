"""The extensions of ASGI, as an option spells them."""

import pytest

from septet.errors import UsageError
from septet.settings.checks import check
from septet.settings.config import Config
from septet.settings.extensions import parse_extensions


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("none", ()),
        ("pathsend", ("http.response.pathsend",)),
        ("http.response.trailers, early_hint", ("http.response.trailers", "http.response.early_hint")),
        ("zerocopysend,", ("http.response.zerocopysend",)),
    ],
)
def test_names(text: str, names: tuple[str, ...]) -> None:
    assert parse_extensions(text) == names


@pytest.mark.parametrize("text", ["", ",", "push", "pathsend,push", "none,pathsend", "http.response.push", "PATHSEND"])
def test_name_that_is_not_known(text: str) -> None:
    allowed = "must be none, or some of early_hint, trailers, pathsend, zerocopysend "
    with pytest.raises(UsageError, match=f"^--asgi-extensions is '{text}', but {allowed}"):
        check(Config(asgi_extensions=(text,)))
