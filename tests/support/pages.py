"""The documentation's pages, and the blocks of code in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"

_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?[^\n]*\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: Path
    language: str
    title: str
    """A file's name, or empty."""
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.title or self.text[:40]!r}"


def blocks(language: str, *pages: Path) -> list[Block]:
    """All blocks in this language, of these pages or of all."""
    return [block for page in pages or all_pages() for block in _blocks(page) if block.language == language]


def all_pages() -> list[Path]:
    return [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"]


def _blocks(page: Path) -> Iterator[Block]:
    for language, title, text in _BLOCK.findall(page.read_text("utf-8")):
        yield Block(page, language, title, text)
