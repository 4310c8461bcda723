"""Radicale: calendars in a directory, for those whom a file of passwords knows."""

from radicale import config
from radicale.app import Application

from real_apps.sites.data import DIRECTORY

configuration = config.load()
configuration.update(
    {
        "auth": {
            "type": "htpasswd",
            "htpasswd_filename": str(DIRECTORY / "passwords"),
            "htpasswd_encryption": "plain",
        },
        "rights": {"type": "owner_only"},
        "storage": {"filesystem_folder": str(DIRECTORY / "collections")},
        "logging": {"level": "warning"},
    },
    "the tests",
)
app = Application(configuration)
