"""`form`: what becomes a remark, and what is refused with which status and sentence."""

from urllib.parse import urlencode

import pytest

from septet.examples.guestbook import form
from septet.examples.guestbook.book import Remark

NOW_S = 1_700_000_000


def parse(name: str, remark: str) -> Remark:
    return form.parse(form.MEDIA_TYPE, urlencode({"name": name, "remark": remark}).encode(), NOW_S)


def refusal(body: bytes, content_type: str = form.MEDIA_TYPE) -> form.FormError:
    with pytest.raises(form.FormError) as caught:
        form.parse(content_type, body, NOW_S)
    return caught.value


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("plain", "plain"),
        ("  around \n", "around"),
        ("two\r\nlines\rand\nmore", "two\nlines\nand\nmore"),
        ("<b>&amp;\"'", "<b>&amp;\"'"),
        ("Ünïcödé 漢字 👩‍🚀", "Ünïcödé 漢字 👩‍🚀"),
        ("bell\x07 null\0 turned\u202e round", "bell null turned round"),
        ("a\tb", "a   b"),
    ],
)
def test_remarks_are_kept_as_written_but_for_what_cannot_be_seen(written: str, kept: str) -> None:
    assert parse("Ada", written) == Remark("Ada", kept, NOW_S)


def test_a_name_is_one_line() -> None:
    assert parse(" Ada\r\n King \t of  Lovelace ", "x").name == "Ada King of Lovelace"


def test_both_fields_at_their_limits_in_the_longest_notation_fit_into_the_body_limit() -> None:
    name, text = "🎉" * form.NAME_LIMIT, "🎉" * form.REMARK_LIMIT
    assert len(urlencode({"name": name, "remark": text})) <= form.BODY_LIMIT
    assert parse(name, text) == Remark(name, text, NOW_S)


def test_a_line_end_counts_as_one_character_as_in_a_browser() -> None:
    assert len(parse("Ada", "x\r\n" * (form.REMARK_LIMIT // 2)).text) == form.REMARK_LIMIT - 1


@pytest.mark.parametrize(("field", "limit"), [("name", form.NAME_LIMIT), ("remark", form.REMARK_LIMIT)])
def test_too_long_a_field_is_refused_and_given_back(field: str, limit: int) -> None:
    fields = {"name": "Ada", "remark": "hello"} | {field: "x" * (limit + 1)}
    error = refusal(urlencode(fields).encode())
    assert error.status == 400
    assert f"{limit:,}" in str(error)
    assert (error.name, error.text) == (fields["name"], fields["remark"])


@pytest.mark.parametrize(
    "body", [b"name=&remark=x", b"name=+%0d&remark=x", b"name=Ada&remark=", b"name=Ada&remark=%00"]
)
def test_an_empty_field_is_refused(body: bytes) -> None:
    error = refusal(body)
    assert error.status == 400
    assert str(error).startswith("Please write a ")


@pytest.mark.parametrize(
    "body",
    [b"", b"name=Ada", b"remark=x", b"name=%ff&remark=x", b"name=\xff&remark=x", b"&".join([b"name=a"] * 11)],
)
def test_what_is_no_such_form_is_refused(body: bytes) -> None:
    assert refusal(body).status == 400


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json", "multipart/form-data; boundary=x"])
def test_another_media_type_is_refused(content_type: str) -> None:
    assert refusal(b"name=Ada&remark=x", content_type).status == 415


def test_the_media_type_may_have_parameters_and_capitals() -> None:
    content_type = "Application/X-WWW-form-urlencoded; charset=UTF-8"
    assert form.parse(content_type, b"name=Ada&remark=a+b", NOW_S).text == "a b"
