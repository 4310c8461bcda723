"""A calendar program at Radicale: WebDAV (RFC 4918) and CalDAV (RFC 4791)."""

from pathlib import Path

from real_apps.visit import Client, Site, expect_status, step

XML = {"Content-Type": "application/xml; charset=utf-8"}
CALENDAR = "/alice/work/"
EVENT = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//tests//EN\r\nBEGIN:VEVENT\r\nUID:lunch\r\n"
    "DTSTAMP:20260102T000000Z\r\nDTSTART:20260102T120000Z\r\nDTEND:20260102T130000Z\r\nSUMMARY:Grüße\r\n"
    "END:VEVENT\r\nEND:VCALENDAR\r\n"
)
MKCALENDAR = """<?xml version="1.0" encoding="utf-8"?>
<C:mkcalendar xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">
  <D:set><D:prop><D:displayname>Work</D:displayname></D:prop></D:set>
</C:mkcalendar>"""
PROPFIND = """<?xml version="1.0" encoding="utf-8"?>
<D:propfind xmlns:D="DAV:"><D:prop><D:displayname/><D:resourcetype/><D:getetag/></D:prop></D:propfind>"""
QUERY = """<?xml version="1.0" encoding="utf-8"?>
<C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">
  <D:prop><D:getetag/><C:calendar-data/></D:prop>
  <C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT">
    <C:time-range start="20260101T000000Z" end="20260103T000000Z"/>
  </C:comp-filter></C:comp-filter></C:filter>
</C:calendar-query>"""


def prepare(directory: Path) -> None:
    (directory / "collections").mkdir()
    (directory / "passwords").write_text("alice:secret\n")


@step
def discovery(site: Site) -> None:
    with _program(site) as program:
        assert "calendar-access" in expect_status(program.options("/")).headers["dav"]
        expect_status(program.request("PROPFIND", "/.well-known/caldav"), 301)
        expect_status(program.request("PROPFIND", "/alice/", content=PROPFIND, headers=XML | {"Depth": "0"}), 207)
    with site.client() as stranger:
        expect_status(stranger.request("PROPFIND", "/alice/", headers={"Depth": "0"}), 401)


@step
def calendar(site: Site) -> None:
    with _program(site) as program:
        expect_status(program.request("MKCALENDAR", CALENDAR, content=MKCALENDAR, headers=XML), 201)
        answer = expect_status(program.put(f"{CALENDAR}lunch.ics", content=EVENT, headers=_once()), 201)
        etag = answer.headers["etag"]
        expect_status(program.put(f"{CALENDAR}lunch.ics", content=EVENT, headers=_once()), 412)
        assert "Grüße" in expect_status(program.get(f"{CALENDAR}lunch.ics")).text
        expect_status(program.head(f"{CALENDAR}lunch.ics"))
        found = program.request("PROPFIND", CALENDAR, content=PROPFIND, headers=XML | {"Depth": "1"})
        assert "lunch.ics" in expect_status(found, 207).text
        found = program.request("REPORT", CALENDAR, content=QUERY, headers=XML | {"Depth": "1"})
        assert "SUMMARY:Grüße" in expect_status(found, 207).text
        expect_status(program.delete(f"{CALENDAR}lunch.ics", headers={"If-Match": etag}))
        expect_status(program.get(f"{CALENDAR}lunch.ics"), 404)


def _program(site: Site) -> Client:
    return site.client(auth=("alice", "secret"))


def _once() -> dict[str, str]:
    """Create it, but do not overwrite it."""
    return {"If-None-Match": "*", "Content-Type": "text/calendar; charset=utf-8"}
