"""The guestbook's static files, found once at import.

A request names one of the files that are there; no path is ever made from what a client sends, so there is no way
out of the directory.
"""

import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

# Named here rather than asked of mimetypes, which reads the machine's own tables and may know .svg differently.
_MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file and its media type."""

    path: Path
    media_type: str

    def open(self) -> FileIO:
        """Open the file for reading, unbuffered: it is sent by sendfile(2) or read in one call."""
        return FileIO(self.path)

    @staticmethod
    def measure(stream: FileIO) -> tuple[int, str]:
        """Return (size in bytes, entity tag) of an open file. They belong to the content that is sent, even if another
        file has taken its name meanwhile.
        """
        status = os.fstat(stream.fileno())
        return status.st_size, f'"{status.st_mtime_ns:x}-{status.st_size:x}"'


STATIC = {
    path.name: StaticFile(path, _MEDIA_TYPES[path.suffix]) for path in (Path(__file__).parent / "static").iterdir()
}
