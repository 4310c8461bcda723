"""Datasette over one sqlite file."""

from datasette.app import Datasette

from real_apps.sites.data import DIRECTORY

app = Datasette(files=[str(DIRECTORY / "birds.db")], secret="for tests only").app()
