"""The command line, on top of click: options made from `Config`, help in sections, verbs (such as `serve`) whose
modules are imported only when used, and errors of one sentence.
"""

import importlib
import re
import sys
from typing import Any

import click
from click.core import ParameterSource

from septet.errors import Failed, SeptetError
from septet.settings.config import OPTIONS
from septet.settings.options import Option
from septet.settings.other_servers import hint

_FAILED = 1
_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_EXTRAS = dict.fromkeys(("altair", "vl_convert", "rich", "jinja2"), "lab") | {"cryptography": "tls"}
"""For packages that need not be installed: the extra of Septet (`pip install "septet[lab]"`) that installs the package.
"""


def run(command: click.Command, arguments: list[str]) -> int:
    """Run `septet ARGUMENTS`, and return its exit status. An error is one sentence on standard error."""
    try:
        status = command.main(arguments, prog_name="septet", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except SeptetError as error:
        if isinstance(error, Failed):
            sys.stderr.write(error.traceback)
        return _complain(str(error), error.exit_status)
    except click.ClickException as error:
        return _complain(_sentence(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):  # the latter where click itself was interrupted
        return _complain("interrupted", _INTERRUPTED)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        cure = f'pip install "septet[{_EXTRAS[package]}]"'
        return _complain(f"this needs the package {package}, which is not installed: {cure}", _FAILED)


def _complain(sentence: str, status: int) -> int:
    print(f"septet: {sentence}", file=sys.stderr)
    return status


def _sentence(error: click.ClickException) -> str:
    """Rewrite click's error message in the form of Septet's: one sentence, no capital, no full stop, and the command
    that shows help.
    """
    message = re.sub(r"\.? \(?Did you mean (one of: )?(.+?)\?\)?$", r" (did you mean \1\2?)", error.format_message())
    message = message.rstrip(".").replace(". ", "; ")
    context = error.ctx if isinstance(error, click.UsageError) else None
    where = f"; see {context.command_path} --help" if context else ""
    return message[:1].lower() + message[1:] + where


class Verbs(click.Group):
    """The command `septet`, whose subcommands are its verbs. For `septet module:app` the error says that `septet serve
    module:app` is probably meant.
    """

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if ":" in name and not self.get_command(ctx, name):
            raise click.UsageError(f"No such command '{name}'. Did you mean septet serve {name}?", ctx)
        return super().resolve_command(ctx, args)


class LateCommand(click.Command):
    """A verb whose module is imported when the verb is used, and not for other verbs or `septet --help`."""

    def __init__(self, name: str, module: str, help: str) -> None:
        super().__init__(name, help=help)
        self.module = module

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of the real command, which click then invokes in place of this one."""
        command: click.Command = getattr(importlib.import_module(self.module), self.name or "")
        return command.make_context(info_name, args, parent, **extra)


class ServeCommand(click.Command):
    """`septet serve`: its help has a section for each section of `Config`.

    For an option of another server (`--timeout`) the error says what to use in its place.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if cure := hint(error.option_name):
                raise click.UsageError(f"No such option '{error.option_name}' ({cure})", ctx) from None
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        parameters = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        for parameter in sorted(parameters, key=lambda each: not isinstance(each, _ConfigOption)):
            section = parameter.section if isinstance(parameter, _ConfigOption) else "Other options"
            sections.setdefault(section, []).append(parameter.get_help_record(ctx) or ("", ""))
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)


class _ConfigOption(click.Option):
    """One field of `Config` as an option of click. Its value stays text: `Option` converts text from all sources in the
    same way.
    """

    def __init__(self, option: Option) -> None:
        switch = option.kind is bool
        super().__init__(
            [f"{option.flag}/--no-{option.flag[2:]}" if switch else option.flag, option.name],
            default=None,
            multiple=option.kind is tuple,
            metavar=None if switch else option.placeholder(),
            help=f"{option.help}  [{default_of(option)}]",
        )
        self.section = option.section


def default_of(option: Option) -> str:
    """Return an option's default in words, for the help: "default: 30.0"."""
    if option.default in (None, ()):
        return f"default: {option.unset}"
    if isinstance(option.default, tuple):
        return f"default: {', '.join(option.default)}"
    return f"default: {str(option.default).lower() if option.kind is bool else option.default}"


def config_parameters() -> list[click.Parameter]:
    """Return the parameters of `septet serve` for click: APP, and every option of `Config`. After parsing, `typed`
    returns their values.
    """
    app = click.Argument(["app"], metavar="[APP]", required=False)
    return [app if option.name == "app" else _ConfigOption(option) for option in OPTIONS]


def typed(context: click.Context) -> dict[str, Any]:
    """Return the values of the options of `Config` that were given on the command line, by field."""
    return {
        option.name: context.params[option.name]
        for option in OPTIONS
        if context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    }
