"""The media type of a file, and the content coding that the file has by itself (gzip for .svgz, say), by the suffix of
its name.
"""

import mimetypes

_types = mimetypes.MimeTypes()
"""The media types by suffix: Python's own table, not the machine's, so that a type does not depend on the machine; and
types that older versions of Python lack.
"""

for _suffix, _type in {
    ".avif": "image/avif",
    ".js": "text/javascript",  # RFC 9239
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}.items():
    _types.add_type(_type, _suffix)


def media_type(name: str) -> str:
    """Return the value of Content-Type for a file of this name."""
    # guess_type takes names for URLs: without a slash, `data:text/html,.png` could choose its own type.
    kind, coding = _types.guess_type("/" + name.rpartition("/")[2], strict=False)
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
