"""What MkDocs does for this documentation beyond turning Markdown into pages.

- The option reference is made from `septet.settings.config`, so it cannot go stale.
- `![what it shows](picture:NAME)` becomes a drawing of `pictures`, inside the page, where it takes the page's colours.
- `table:NAME` on a line of its own becomes a table made from the code.
- `source:FILE` on a line of its own becomes the file of the package, whole, with numbered lines.
- `assets/architecture.svg`, the drawing of the README, must be what the code draws: a warning, and so a failed build,
  if not.
- A name of our code, written `` `models/_drive.py:drive` ``, must exist, and so must the verb and the options of every
  command `septet ...` that a page shows: a warning, and so a failed build, if not.
"""

import ast
import html
import importlib
import logging
import re
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))

from pictures import PICTURES, TABLES, standalone

import septet
from septet.cli import septet as command
from septet.settings.command import LateCommand
from septet.settings.reference import page as options_page

log = logging.getLogger("mkdocs.hooks.septet")

OPTIONS = "reference/options.md"
SOURCE = Path(septet.__file__).parent

_PICTURE = re.compile(r"^!\[([^\]]+)\]\(picture:([\w-]+)\)$", re.MULTILINE)
_TABLE = re.compile(r"^table:([\w-]+)$", re.MULTILINE)
_SOURCE = re.compile(r"^source:([\w/]+\.py)$", re.MULTILINE)
_COMMAND = re.compile(r"\bseptet ([a-z]+)\b((?:'[^'\n]*'|[^`\n|&)#'\\])*)")  # what is quoted may have any of these
_CODE = re.compile(r"`([\w/]+\.py):([\w.]+)`")


def on_files(files: Files, config: Any) -> Files:
    """Put in the option reference as it is now, not as it is on the disk."""
    old = files.get_file_from_path(OPTIONS)
    if old is not None:
        files.remove(old)
    files.append(File.generated(config, OPTIONS, content=options_page()))
    drawn = Path(__file__).parent / "assets" / "architecture.svg"
    if drawn.read_text("utf-8") != standalone.file_of(*standalone.ARCHITECTURE):
        log.warning("%s is not what the imports are now; see pictures/standalone.py", drawn.name)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Draw pictures, make tables, include sources, and look up the names of our code."""
    for path, name in _CODE.findall(markdown):
        if not _defines(path, name):
            log.warning("%s names %s in %s, which is not there", page.file.src_uri, name, path)
    for verb, words in _COMMAND.findall(markdown):
        for option in _unknown_options(verb, words):
            log.warning("%s shows `septet %s %s`, which does not exist", page.file.src_uri, verb, option)
    markdown = _PICTURE.sub(lambda match: _figure(match[2], match[1]), markdown)
    markdown = _TABLE.sub(lambda match: TABLES[match[1]](), markdown)
    return _SOURCE.sub(lambda match: _listing(match[1]), markdown)


def _listing(path: str) -> str:
    """A file of the package as a block of code."""
    return f'```{{.python linenums="1" title="src/septet/{path}"}}\n{(SOURCE / path).read_text("utf-8")}```'


def _figure(name: str, shows: str) -> str:
    """A drawing, with its sentence as the label that screen readers read."""
    drawing = PICTURES[name]().svg(html.escape(shows, quote=True))
    return f'<figure class="drawing">{drawing}</figure>'


def _unknown_options(verb: str, words: str) -> list[str]:
    """What begins with two dashes and is no option of the verb; a quoted word with a blank is a value, and what follows
    `--` is another command."""
    if verb not in command.commands:
        return ["..."]
    known = _options(verb)
    words = words.split(" -- ", 1)[0] if not words.lstrip().startswith("-- ") else ""
    return [word for word in shlex.split(words) if word.startswith("--") and " " not in word and word not in known]


@cache
def _options(verb: str) -> frozenset[str]:
    found = command.commands[verb]
    if isinstance(found, LateCommand):
        found = getattr(importlib.import_module(found.module), verb)
    return frozenset(["--help", *(name for each in found.params for name in [*each.opts, *each.secondary_opts])])


def _defines(path: str, name: str) -> bool:
    """Whether a file of the package defines a function, class, method or constant of this name."""
    return name in _names(SOURCE / path)


@cache
def _names(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    return frozenset(_defined(ast.parse(path.read_text("utf-8")), ""))


def _defined(node: ast.Module | ast.ClassDef, prefix: str) -> list[str]:
    names = []
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(prefix + each.name)
        elif isinstance(each, ast.Assign):
            names += [prefix + target.id for target in each.targets if isinstance(target, ast.Name)]
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            names.append(prefix + each.target.id)
        if isinstance(each, ast.ClassDef):
            names += _defined(each, f"{each.name}.")
    return names
