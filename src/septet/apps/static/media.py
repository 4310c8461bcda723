"""What a file is said to be: its media type and its own content coding, by the end of its name."""

import mimetypes

_types = mimetypes.MimeTypes()
"""Python's own table, so that a type does not depend on the machine; and what old Pythons do not have in it."""

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
    """A value for Content-Type."""
    # It takes names for URLs, and `data:text/html,.png` would say of itself what it is.
    kind, coding = _types.guess_type("/" + name.rpartition("/")[2], strict=False)
    if coding and not own_coding(name):  # a compressed file is served as what it is, not as what it holds
        return "application/gzip" if coding == "gzip" else "application/octet-stream"
    if kind is None:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") or kind.endswith("javascript") else kind


def own_coding(name: str) -> str:
    """The content coding of the file itself; empty for none. SVG's specification (2, section 1.3) has it for .svgz."""
    return "gzip" if name.lower().endswith(".svgz") else ""
