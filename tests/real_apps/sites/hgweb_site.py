"""Mercurial's hgweb over one repository, for everybody."""

import os

from mercurial.hgweb import hgweb

from real_apps.sites.data import DIRECTORY

app = hgweb(os.fsencode(DIRECTORY / "repository"), name=b"repository")
