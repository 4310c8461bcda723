"""Makes a remark from the body of a POST: the form that a browser sends, checked and bounded. No I/O.

The format is application/x-www-form-urlencoded (WHATWG URL Standard, section 5), in UTF-8.
"""

from urllib.parse import parse_qsl

from septet.examples.guestbook.book import Remark

MEDIA_TYPE = "application/x-www-form-urlencoded"
NAME_LIMIT = 80  # characters
REMARK_LIMIT = 1000  # characters

# Bytes. A character of four UTF-8 bytes takes twelve when each is written %XX: 12,960 for both fields at their limits.
BODY_LIMIT = 16 * 1024

# Characters that would be invisible or would turn the text around them: C0 and C1 controls, and Unicode's explicit
# directions (UAX #9, 2). Emoji need the zero-width joiner, so that one may stay.
_REMOVED = dict.fromkeys(
    [
        *(code for code in range(0x20) if code != 0x0A),
        *range(0x7F, 0xA0),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    ]
)


class FormError(Exception):
    """The form is refused; `status` is that of the answer, the message is one sentence for the visitor.

    `name` and `text` are what the visitor wrote, as far as that is known, to be shown in the form again.
    """

    def __init__(self, status: int, sentence: str, name: str = "", text: str = "") -> None:
        super().__init__(sentence)
        self.status = status
        self.name = name
        self.text = text


def too_large() -> FormError:
    """Return the error for a body of more than BODY_LIMIT bytes, the rest of which is not read."""
    return FormError(413, f"This is more than the {BODY_LIMIT // 1024} KiB that a remark can need.")


def incomplete() -> FormError:
    """Return the error for a body that ends before its Content-Length, or whose Content-Length is not a number."""
    return FormError(400, "The form did not arrive completely.")


def parse(content_type: str, body: bytes, now_s: int) -> Remark:
    """Make a remark from a form with the fields `name` and `remark`; `now_s` is its time in seconds since 1970.

    Raises FormError: 415 for another media type, 400 for a form that is malformed, or a field that is empty or too
    long.
    """
    fields = _fields(content_type, body)
    try:
        name = " ".join(fields["name"].split()).translate(_REMOVED)
        text = fields["remark"].replace("\r\n", "\n").replace("\r", "\n").expandtabs(4).translate(_REMOVED).strip()
    except KeyError as error:
        raise FormError(400, f"The form lacks its field {error}.") from None
    for what, value, limit in (("name", name, NAME_LIMIT), ("remark", text, REMARK_LIMIT)):
        if not value:
            raise FormError(400, f"Please write a {what}, too.", name, text)
        if len(value) > limit:
            sentence = f"The {what} has {len(value):,} characters; there is room for {limit:,}."
            raise FormError(400, sentence, name, text)
    return Remark(name, text, now_s)


def _fields(content_type: str, body: bytes) -> dict[str, str]:
    if content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise FormError(415, f"Remarks are taken as {MEDIA_TYPE}, as the form sends them.")
    try:
        # Ten fields: those that browser add-ons put in are ignored, and a flood of fields is not parsed.
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=10)
    except ValueError:  # not UTF-8, or too many fields
        raise FormError(400, "The form is not well-formed, or not in UTF-8.") from None
    return dict(pairs)
