"""pypiserver over a directory, for everybody."""

import pypiserver

from real_apps.sites.data import DIRECTORY

app = pypiserver.app(roots=[DIRECTORY / "packages"], authenticate=[], password_file=".", disable_fallback=True)
