"""A directory to serve, with the traps around it that a static file server must not fall into."""

from pathlib import Path

from support.messages import pattern

BIG = pattern(3_000_017)

FILES: dict[str, tuple[bytes, str]] = {
    "plain.txt": (b"plain text\n", "text/plain"),
    "style.css": (b"body { color: black }\n", "text/css"),
    "script.js": (b"void 0\n", "text/javascript"),
    "image.png": (b"\x89PNG\r\n\x1a\n", "image/png"),
    "image.svg": (b"<svg/>\n", "image/svg+xml"),
    "data.json": (b"{}\n", "application/json"),
    "unknown.qqq": (b"?\n", "application/octet-stream"),
    "empty.txt": (b"", "text/plain"),
    "with space.txt": (b"a space\n", "text/plain"),
    "na\u00efve.txt": (b"not ASCII\n", "text/plain"),
    "big.bin": (BIG, "application/octet-stream"),
}

SECRET = b"a secret outside of the directory"


def make_static_tree(parent: Path) -> Path:
    """Make `parent/files` to be served, and secrets beside it that must not be; return the former."""
    root = parent / "files"
    (root / "directory").mkdir(parents=True)
    (root / "bare").mkdir()
    for name, (content, _) in FILES.items():
        (root / name).write_bytes(content)
    (root / "index.html").write_bytes(b"<p>the root</p>\n")
    (root / "directory" / "index.html").write_bytes(b"<p>a directory</p>\n")
    (root / "bare" / "only.txt").write_bytes(b"a directory without an index\n")
    (parent / "secret.txt").write_bytes(SECRET)
    (parent / "files_secret").mkdir()
    (parent / "files_secret" / "secret.txt").write_bytes(SECRET)
    (root / "link-out.txt").symlink_to(parent / "secret.txt")
    (root / "link-out").symlink_to(parent / "files_secret")
    (root / "link-in.txt").symlink_to(root / "plain.txt")
    return root
