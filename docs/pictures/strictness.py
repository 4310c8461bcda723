"""The table of what we read in another way than h11 and httptools, from the file that a test holds to be true."""

import tomllib
from pathlib import Path
from typing import Any

DIFFERENCES = Path(__file__).parent.parent.parent / "tests" / "corpus" / "differences.toml"

WAYS = {
    "we refuse": "refused here, taken there",
    "they refuse": "taken here, refused there",
    "read otherwise": "taken by both, read in two ways",
}


def differences() -> str:
    """Rows: a difference; columns: the parsers that differ, in which way, and why it is meant."""
    entries = tomllib.loads(DIFFERENCES.read_text("utf-8"))["difference"]
    lines = ["| what | h11 | httptools | why |", "|---|:-:|:-:|---|"]
    for way, heading in WAYS.items():
        lines.append(f"| **{heading}** | | | |")
        lines += [_row(entry) for entry in entries if entry["way"] == way]
    return "\n".join(lines)


def _row(entry: dict[str, Any]) -> str:
    marks = " | ".join("●" if who in entry["who"] else " " for who in ("h11", "httptools"))
    return f"| {entry['what']} | {marks} | {entry['why']} |"
