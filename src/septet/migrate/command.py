"""The verb `migrate` of the command line."""

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from septet.errors import Failed, UsageError
from septet.migrate import granian, gunicorn, uvicorn, uwsgi
from septet.migrate.draft import Draft, refused

_COMMANDS: dict[str, Callable[[Draft, list[str]], None]] = {
    "gunicorn": gunicorn.read_command_line,
    "uvicorn": uvicorn.read_command_line,
    "granian": granian.read_command_line,
    "uwsgi": uwsgi.read_command_line,
}


@click.command(
    context_settings={"ignore_unknown_options": True},
    epilog="""\b
Examples:
  septet migrate gunicorn.conf.py > septet.toml
  septet migrate uwsgi.ini > septet.toml
  septet migrate -- gunicorn -w 4 -k uvicorn.workers.UvicornWorker shop.web:app
  septet migrate -- uvicorn shop.web:app --host 0.0.0.0 --port 80 --workers 4""",
)
@click.argument("words", nargs=-1, required=True, metavar="FILE | -- COMMAND...", type=click.UNPROCESSED)
def migrate(words: tuple[str, ...]) -> int:
    """Print a septet.toml that means what another server is configured to do.

    FILE is a gunicorn.conf.py, which is run as gunicorn runs it, or an ini file of uWSGI. COMMAND is the command line
    of gunicorn, uvicorn, granian or uWSGI. What is left out is said on standard error, with the reason.
    """
    draft = Draft()
    if len(words) == 1 and Path(words[0]).suffix in (".py", ".ini"):
        _read_file(draft, Path(words[0]))
    else:
        _read_command(draft, list(words))
    for sentence in draft.left_out:
        click.echo(f"septet: {sentence}", err=True)
    try:
        text = draft.toml()
    except UsageError as error:
        raise Failed(refused(error)) from None
    click.echo(f"# Made by: septet migrate {shlex.join(_without_passwords(words))}\n{text}", nl=False)
    return 0


def _without_passwords(words: Iterable[str]) -> Iterator[str]:
    """Yield the words of a command line with *** for each value of an option that has "password" in its name."""
    before = ""
    for word in words:
        name, equals, _ = word.partition("=")
        if _takes_password(before):
            yield "***"
        elif equals and _takes_password(name):
            yield f"{name}=***"
        else:
            yield word
        before = word


def _takes_password(word: str) -> bool:
    return word.startswith("-") and "password" in word.lower() and "=" not in word


def _read_file(draft: Draft, path: Path) -> None:
    if not os.path.isfile(path):  # `Path.is_file` raises PermissionError before Python 3.14
        raise UsageError(f"FILE is {str(path)!r}, but must be a file that exists")
    (gunicorn if path.suffix == ".py" else uwsgi).read_file(draft, path)


def _read_command(draft: Draft, words: list[str]) -> None:
    if Path(words[0]).name.startswith("python") and words[1:2] == ["-m"]:
        del words[:2]
    name = Path(words[0]).name if words else ""
    if len(words) == 1 and words[0].split()[:1] and words[0].split()[0] in _COMMANDS:
        raise UsageError(f"{words[0]!r} is one word: write septet migrate -- {words[0]}")
    if name not in _COMMANDS:
        raise UsageError(
            f"{shlex.join(words)!r} is neither a gunicorn.conf.py, an ini file of uWSGI, nor a command line that "
            f"begins with {', '.join(_COMMANDS)}"
        )
    _COMMANDS[name](draft, words[1:])
