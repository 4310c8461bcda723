"""The guestbook's pages: remarks and a number of views in, HTML out. No I/O but reading the templates at import.

Everything on the page but the counter changes only with a remark, so a page is printed once per edition with a gap
for the counter, and each view fills the gap in half a microsecond instead of 200.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template

from septet.examples.guestbook.book import Remark
from septet.examples.guestbook.form import NAME_LIMIT, REMARK_LIMIT

REMARKS_SHOWN = 20

# An odometer of seven wheels: a load generator that compares the lengths of answers finds them all equal, up to ten
# million views; then an eighth wheel appears.
WHEELS = 7

_TEMPLATES = Path(__file__).parent / "templates"
_PAGE, _NOTICE, _FORM, _REMARK = (
    Template((_TEMPLATES / f"{name}.html").read_text("utf-8").rstrip("\n"))
    for name in ("page", "notice", "form", "remark")
)
_GAP = b"\0"  # in no template, and `form.parse` removes it from remarks
_NOBODY_YET = '<p class="nobody">Nobody has written yet. The first line is yours.</p>'


@dataclass(frozen=True, slots=True)
class Printed:
    """The guestbook's page with a given set of remarks, as the bytes before and after the view counter."""

    edition: int
    before: bytes
    after: bytes

    def fill(self, views: int) -> bytes:
        """Return the whole page as HTML in UTF-8, with `views` as its view counter."""
        return b"%b%0*d%b" % (self.before, WHEELS, views, self.after)


class Press:
    """Keeps the rendered page of the latest edition (a number that grows with every remark). For any number of threads:
    at worst two of them render the same page.
    """

    def __init__(self) -> None:
        self._latest: Printed | None = None

    def find(self, edition: int) -> Printed | None:
        """Return the rendered page that is kept if it is of this edition (a number that grows with every remark), else
        None.
        """
        latest = self._latest
        return latest if latest is not None and latest.edition == edition else None

    def print(self, edition: int, remarks: Sequence[Remark]) -> Printed:
        """Render and keep the page of an edition, which is a number that grows with every remark. `remarks` must be
        read after `edition`: they may be newer than it, and then the next view has a newer edition and renders again;
        they are never older.
        """
        before, _, after = _page(remarks).encode().partition(_GAP)
        self._latest = Printed(edition, before, after)
        return self._latest


def notice(title: str, sentence: str, form: str = "") -> bytes:
    """Return a page with a sentence that says what is wrong; `form`, made by `filled_form`, lets the visitor correct
    it."""
    way_back = '<p><a href="/guestbook">To the guestbook</a></p>' if not form else ""
    return _NOTICE.substitute(title=escape(title), sentence=escape(sentence), form=form or way_back).encode()


def filled_form(name: str, text: str) -> str:
    """Return the form as HTML, filled with what the visitor wrote."""
    # A line end right after <textarea> belongs to the markup (HTML Standard, 13.1.2.5); the template has it there.
    return _FORM.substitute(name=escape(name), remark=escape(text), name_limit=NAME_LIMIT, remark_limit=REMARK_LIMIT)


def _page(remarks: Sequence[Remark]) -> str:
    entries = "\n".join(map(_entry, remarks)) or _NOBODY_YET
    return _PAGE.substitute(views=_GAP.decode(), form=filled_form("", ""), remarks=entries)


def _entry(remark: Remark) -> str:
    time = datetime.fromtimestamp(remark.time_s, UTC)
    return _REMARK.substitute(
        name=escape(remark.name),
        text=escape(remark.text),
        machine_time=f"{time:%Y-%m-%dT%H:%MZ}",
        time=f"{time.day} {time:%b %Y, %H:%M} UTC",
    )
