"""`page`: what the visitor sees, escaped, and of equal length from view to view."""

from septet.examples.guestbook.book import Remark
from septet.examples.guestbook.page import Press, filled_form, notice

REMARK = Remark('<script>"Eve"</script>', "a & b\n</p><img src=x onerror='alert(1)'>", 1_700_000_000)


def test_remarks_are_text_whatever_they_contain() -> None:
    html = Press().print(1, [REMARK]).fill(1).decode()
    assert "<script>" not in html
    assert "<img src=x" not in html
    assert "&lt;script&gt;&quot;Eve&quot;&lt;/script&gt;" in html
    assert "a &amp; b\n&lt;/p&gt;&lt;img src=x onerror=&#x27;alert(1)&#x27;&gt;" in html


def test_what_looks_like_a_placeholder_in_a_remark_is_text() -> None:
    html = Press().print(1, [Remark("$views", "${name} $$", 0)]).fill(1).decode()
    assert "$views" in html
    assert "${name} $$" in html


def test_a_remark_shows_when_it_was_left_for_people_and_machines() -> None:
    html = Press().print(1, [REMARK]).fill(1).decode()
    assert '<time datetime="2023-11-14T22:13Z">14 Nov 2023, 22:13 UTC</time>' in html


def test_the_length_does_not_change_with_the_number_of_views() -> None:
    printed = Press().print(1, [REMARK])
    assert len({len(printed.fill(views)) for views in (0, 9, 10, 12_345, 9_999_999)}) == 1
    assert b">0012345<" in printed.fill(12_345)
    assert b">10000000<" in printed.fill(10_000_000)


def test_an_empty_book_invites() -> None:
    assert b"Nobody has written yet" in Press().print(0, []).fill(1)


def test_the_press_keeps_the_latest_edition_only() -> None:
    press = Press()
    assert press.find(1) is None
    first = press.print(1, [])
    assert press.find(1) is first
    second = press.print(2, [REMARK])
    assert press.find(1) is None
    assert press.find(2) is second


def test_a_notice_says_what_is_wrong_and_gives_back_what_was_written() -> None:
    html = notice("Not <yet>", "5 > 4", filled_form('"Ada"', "</textarea>\n<b>")).decode()
    assert "Not &lt;yet&gt;" in html
    assert "5 &gt; 4" in html
    assert 'value="&quot;Ada&quot;"' in html
    assert "&lt;/textarea&gt;\n&lt;b&gt;</textarea>" in html


def test_a_notice_without_a_form_leads_back() -> None:
    assert b'<a href="/guestbook">' in notice("Not Found", "Nothing here.")
