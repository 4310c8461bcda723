"""The applications: what each is, what serves it, what visits it, and what of its answers is chance."""

import importlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from real_apps.visit import Step, steps_of
from support.journal import VARIABLE

Scrub = tuple[tuple[bytes, bytes], ...]
"""Regular expressions for what differs from one answer to the next, and what stands for it in the comparison. A field
is compared as `name: value`, its name in lower case."""


@dataclass(frozen=True)
class Application:
    """`target` is what a server is given, `visit` the module of its steps; `in_tests`: `make test` has its packages."""

    name: str
    interface: str
    target: str
    visit: str
    scrub: Scrub = ()
    in_tests: bool = False

    @property
    def steps(self) -> list[Step]:
        return steps_of(self._visit)

    @property
    def _visit(self) -> ModuleType:
        return importlib.import_module(f"real_apps.visits.{self.visit}")

    def prepare(self, directory: Path) -> None:
        """Write the files that the application finds when it starts."""
        self._visit.prepare(directory)

    def environment(self, directory: Path) -> dict[str, str]:
        """What tells the application where its files are; sets of strings have the same order in each process."""
        return {VARIABLE: str(directory), "PYTHONHASHSEED": "0"}


SESSION: Scrub = ((rb"^set-cookie: session=[^;]+", b"set-cookie: session=<signed>"),)
FLASK: Scrub = (*SESSION, (rb'^(etag: "[0-9.]+-\d+)-\d+"', rb'\1-<of the path>"'))
DJANGO: Scrub = (
    (rb"^set-cookie: (csrftoken|sessionid|messages)=[^;]+", rb"set-cookie: \1=<secret>"),
    (rb'name="csrfmiddlewaretoken" value="[^"]+"', b"<token>"),
    (rb'(data-utc-offset|name="_selected_action" value)="[^"]*"', b"<moment>"),
)
BOTTLE: Scrub = ((rb'^etag: "?[0-9a-f]{40}"?', b"etag: <of the path>"),)
DASH: Scrub = ((rb'"(CSRFToken|end_id)":"[^"]*"', rb'"\1":"<secret>"'),)
DATASETTE: Scrub = (
    (rb"^set-cookie: ds_csrftoken=[^;]+", b"set-cookie: ds_csrftoken=<secret>"),
    (rb"Queries took [0-9.]+ms", b"<duration>"),
    (rb'"query_ms": [0-9.]+', b"<duration>"),
)
AMAZON: Scrub = (
    (rb"^(x-amz-request-id|x-amzn-requestid|x-amz-id-2): .*", rb"\1: <random>"),
    (rb"^(x-amz-crc32): .*", rb"\1: <of the random body>"),
)
HGWEB: Scrub = ((rb'^etag: W/"\d+"', b"etag: <of the time>"),)
SOCKETIO: Scrub = ((rb'"sid":"[^"]+"', b"<random>"), (rb"^set-cookie: io=[^;]+", b"set-cookie: io=<random>"))
NICEGUI: Scrub = ((rb"[0-9a-f]{8}-[0-9a-f-]{27}", b"<random>"), (rb"^set-cookie: session=[^;]+", b"<signed>"))
MCP: Scrub = ((rb"^mcp-session-id: .*", b"mcp-session-id: <random>"),)

APPLICATIONS = (
    Application("django-wsgi", "wsgi", "real_apps.sites.shop.wsgi:application", "django_visit", DJANGO, in_tests=True),
    Application("django-asgi", "asgi", "real_apps.sites.shop.asgi:application", "django_visit", DJANGO, in_tests=True),
    Application("flask", "wsgi", "real_apps.sites.flask_site:app", "flask_visit", FLASK, in_tests=True),
    Application("bottle", "wsgi", "real_apps.sites.bottle_site:app", "bottle_visit", BOTTLE, in_tests=True),
    Application("dash", "wsgi", "real_apps.sites.dash_site:app", "dash_visit", DASH),
    Application("moto", "wsgi", "real_apps.sites.moto_site:app", "moto_visit", AMAZON),
    Application("radicale", "wsgi", "real_apps.sites.radicale_site:app", "radicale_visit"),
    Application("pypiserver", "wsgi", "real_apps.sites.pypi_site:app", "pypi_visit"),
    Application("hgweb", "wsgi", "real_apps.sites.hgweb_site:app", "hgweb_visit", HGWEB),
    Application("fastapi", "asgi", "real_apps.sites.fastapi_site:app", "fastapi_visit", in_tests=True),
    Application("starlette", "asgi", "real_apps.sites.starlette_site:app", "starlette_visit", SESSION, in_tests=True),
    Application("datasette", "asgi", "real_apps.sites.datasette_site:app", "datasette_visit", DATASETTE),
    Application("socketio", "asgi", "real_apps.sites.socketio_site:app", "socketio_visit", SOCKETIO),
    Application("channels", "asgi", "real_apps.sites.channels_site:application", "channels_visit"),
    Application("nicegui", "asgi", "real_apps.sites.nicegui_site:app", "nicegui_visit", NICEGUI),
    Application("mcp", "asgi", "real_apps.sites.mcp_site:app", "mcp_visit", MCP),
)


class Templates:
    """The prepared files of each application, made once; each run gets a copy, with the times of the files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def make(self, applications: Sequence[Application]) -> None:
        for application in applications:
            template = self._template(application)
            if not template.exists():
                template.mkdir()
                application.prepare(template)

    def copy(self, application: Application, directory: Path) -> None:
        self.make([application])
        shutil.copytree(self._template(application), directory, dirs_exist_ok=True)

    def _template(self, application: Application) -> Path:
        """The two interfaces of Django have one visit, which finds the same files."""
        return self._directory / application.visit
