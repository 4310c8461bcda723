"""What is put around click: exit statuses, sentences, and verbs that are imported when they are used."""

import sys
from pathlib import Path

import click
import pytest

from septet.errors import Failed, UsageError
from septet.settings.command import LateCommand, run


def failing_with(error: BaseException) -> click.Command:
    """A command that ends with `error`."""

    def fail() -> None:
        raise error

    return click.Command("fail", callback=fail)


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (UsageError("--x is 1, but must be 2"), 2, "--x is 1, but must be 2"),
        (Failed("it broke"), 1, "it broke"),
        (click.ClickException("It broke. Badly."), 1, "it broke; Badly"),
        (click.UsageError("No such option '-x'. Did you mean '-y'?"), 2, "no such option '-x' (did you mean '-y'?)"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=repr,
)
def test_error_is_a_sentence_and_a_status(
    error: BaseException, status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(failing_with(error), []) == status
    assert capsys.readouterr().err.strip().startswith(f"septet: {sentence}")


@pytest.mark.parametrize(("result", "status"), [(None, 0), (0, 0), (3, 3)])
def test_status_is_what_the_verb_returns(result: int | None, status: int) -> None:
    assert run(click.Command("verb", callback=lambda: result), []) == status


def test_package_of_an_extra_that_is_missing_has_a_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw() -> None:
        import altair  # noqa: F401

    monkeypatch.setitem(sys.modules, "altair", None)  # what the import system takes for "not installed"
    assert run(click.Command("draw", callback=draw), []) == 1
    assert 'altair, which is not installed: pip install "septet[lab]"' in capsys.readouterr().err


def test_other_missing_module_is_a_bug_and_not_hidden() -> None:
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        run(failing_with(ModuleNotFoundError("No module named 'nowhere'", name="nowhere")), [])


def test_late_command_is_imported_when_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "late_verbs.py").write_text(
        "import click\n@click.command()\n@click.argument('word')\ndef say(word):\n    click.echo(word)\n    return 4\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    group = click.Group("septet", commands=[LateCommand("say", "late_verbs", "Say a word.")])
    assert run(group, ["--help"]) == 0
    assert "Say a word." in capsys.readouterr().out
    assert "late_verbs" not in sys.modules
    assert run(group, ["say", "hello"]) == 4
    assert capsys.readouterr().out == "hello\n"
    assert "late_verbs" in sys.modules
