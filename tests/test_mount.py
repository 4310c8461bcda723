"""The spellings of `--static`."""

import pytest

from septet.mount import Mount, parse_mount


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/=public", Mount("/", "public")),
        ("/static=public", Mount("/static/", "public")),
        ("/static/=public/", Mount("/static/", "public/")),
        ("/a/b=x=y", Mount("/a/b/", "x=y")),
    ],
)
def test_spelling_means_mount(text: str, mount: Mount) -> None:
    assert parse_mount(text) == mount


@pytest.mark.parametrize("text", ["", "public", "static=public", "/static", "/static=", "=public", "/a=b\0c"])
def test_other_spelling_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be ROUTE=DIR"):
        parse_mount(text)
