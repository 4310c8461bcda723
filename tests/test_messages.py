"""Codes of messages: each that the server logs has a section in the documentation, and the other way round."""

import re
from pathlib import Path

import septet

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "messages.md"


def test_every_code_has_its_section() -> None:
    source = Path(septet.__file__).parent
    logged = {code for path in source.rglob("*.py") for code in re.findall(r'"(SEP\d{3}) ', path.read_text())}
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    assert {section[:6] for section in sections} == logged
    for section in sections:
        assert all(f"**{part}.**" in section for part in ("Cause", "Consequence", "Cure")), section[:6]
