"""The media type of a file, and the content coding that the file has by itself (gzip for .svgz, say), by the suffix of
its name.
"""

from functools import cache
from typing import Any

_LATER_TYPES = {
    ".avif": "image/avif",
    ".js": "text/javascript",  # RFC 9239
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
"""Media types, by the suffix of a file's name, that the tables of older Pythons lack."""


@cache
def _types() -> Any:
    """Return Python's own table of media types with `_LATER_TYPES` added; the lists of types that the machine has do
    not count. It is made at the first call, when a directory is served, because most servers serve none.
    """
    import mimetypes

    types = mimetypes.MimeTypes()
    for suffix, kind in _LATER_TYPES.items():
        types.add_type(kind, suffix)
    return types


def media_type(name: str) -> str:
    """Return the value of Content-Type for a file of this name."""
    # guess_type takes names for URLs: without a slash, `data:text/html,.png` could choose its own type.
    kind, coding = _types().guess_type("/" + name.rpartition("/")[2], strict=False)
    if coding and not own_coding(name):  # the type of a compressed file, not of its content
        return "application/gzip" if coding == "gzip" else "application/octet-stream"
    if kind is None:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") or kind.endswith("javascript") else kind


def own_coding(name: str) -> str:
    """Return the content coding that the file itself has by its name, such as gzip for .svgz (SVG 2, section 1.3);
    empty for none.
    """
    return "gzip" if name.lower().endswith(".svgz") else ""
