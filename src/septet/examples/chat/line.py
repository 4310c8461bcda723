"""Checks a line that a member writes: JSON with a name and a text."""

import json
import time
from typing import Any

NAME_LIMIT = 40
TEXT_LIMIT = 1000
"""Most characters in the text of a line; a line is what a member of the chat sends at once."""


class NotALine(Exception):
    """What a client has sent is not a valid line; the message says why."""


def parse(message: Any) -> str:
    """Return the line as all members get it: JSON, with the time in seconds since 1970. Raises NotALine."""
    try:
        said = json.loads(message)
        name, text = said["name"], said["text"]
    except (ValueError, TypeError, KeyError):
        raise NotALine('a line is {"name": ..., "text": ...}') from None
    if not (isinstance(name, str) and isinstance(text, str)):
        raise NotALine("name and text are strings")
    name, text = " ".join(name.split()) or "somebody", text.strip()
    if not text or len(text) > TEXT_LIMIT or len(name) > NAME_LIMIT:
        raise NotALine(f"a text has 1 to {TEXT_LIMIT} characters, a name {NAME_LIMIT} at most")
    return json.dumps({"name": name, "text": text, "time": int(time.time())})
