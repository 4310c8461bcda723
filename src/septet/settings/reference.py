"""The reference page of the options, made from `Config`.

`python -m septet.settings.reference docs/reference/options.md` writes it.
"""

import sys
from itertools import groupby
from pathlib import Path

from septet.settings.command import default_of
from septet.settings.config import OPTIONS
from septet.settings.options import Option

_HEAD = """\
# Options of `septet serve`

<!-- Made from septet.settings.config by `python -m septet.settings.reference`; change it there. -->

Every option can be given in three places. The first that has it wins:

1. the command line: `--limit-body 1000000`
2. the environment: `SEPTET_LIMIT_BODY=1000000`. The values of an option that may be repeated are separated by commas or
   blanks; an empty variable counts as not set. After these come the variables by which platforms configure any server:
   `PORT=8000` means `--bind 0.0.0.0:8000`, `WEB_CONCURRENCY=4` means `--workers 4`, and `LISTEN_FDS=1` means
   `--bind fd://3` if `LISTEN_PID` is Septet's process. `LISTEN_FDS` goes before `PORT`.
3. a file: `limit_body = 1000000` in `septet.toml` of the working directory or, where there is none, under
   `[tool.septet]` in its `pyproject.toml`. `--config FILE` or `SEPTET_CONFIG` name another file.

`septet serve --print-config` prints the resulting configuration as a `septet.toml`, with the source of each value, and
`septet serve --check` says what [a start would complain of](../how-to/stopping.md#look-before-you-restart).
`septet config schema > septet.schema.json` prints a JSON Schema of the file. Editors with a language server for TOML
find it by the first line `#:schema ./septet.schema.json`, and then complete the keys and mark what is wrong.

```toml title="septet.toml"
#:schema ./septet.schema.json
app = "shop.web:app"
bind = ["127.0.0.1:8000", "unix:/run/shop/http.sock?mode=660"]
model = "epoll"
workers = 2
access_log = "/var/log/shop/access.log"
```

Paths are relative to the working directory. A wrong value ends the command before anything is started, with exit status
2 and a sentence that names the option, the value and what is allowed.
"""


def page() -> str:
    """Return the reference page of the options, as Markdown."""
    parts = [_HEAD]
    for section, options in groupby(OPTIONS, key=lambda option: option.section):
        parts.append(f"## {section}\n")
        parts += [_entry(option) for option in options]
    return "\n".join(parts)


def _entry(option: Option) -> str:
    spelling = f"{option.flag}, --no-{option.flag[2:]}" if option.kind is bool else option.flag
    facts = [("allowed", option.allowed()), ("default", _default(option)), ("variable", f"`{option.variable}`")]
    lines = [f"- {name}: {fact}" for name, fact in [*facts, ("key", f"`{option.name}`")]]
    return "\n".join([f"### `{spelling}`\n", f"{option.help}\n", *lines]) + "\n"


def _default(option: Option) -> str:
    return option.unset if option.default in (None, ()) else f"`{default_of(option).removeprefix('default: ')}`"


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m septet.settings.reference FILE")
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(), "utf-8")
