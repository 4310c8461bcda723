"""What the documentation tells operators to write is accepted by those who read it: units, manifests, command lines."""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from septet.cli import serve
from septet.errors import UsageError
from septet.settings.checks import check_serves_something
from septet.settings.command import typed
from septet.settings.config import Config
from septet.settings.sources import resolve
from support.needs import lacking
from support.pages import DOCS, ROOT, Block, all_pages, blocks

SYSTEMD, CONTAINERS = (DOCS / "how-to" / name for name in ("systemd.md", "containers.md"))

STOP_S = 4.0
"""What Septet adds to --graceful-timeout before it kills what does not end."""

_COMMAND = re.compile(r"(?:^|[\s`$])septet serve (?!--help)([^`\n#|]*)")


def config_of(words: list[str], directory: Path) -> Config:
    """What `septet serve WORDS` comes to, in a directory where all directories are that the words name. Fails for what
    is refused."""
    for word in words:
        _, equals, path = word.partition("=")
        if equals and word.startswith("/"):
            (directory / path).mkdir(parents=True, exist_ok=True)
    context = serve.make_context("serve", list(words))
    if "--print-config" not in words and "--check" not in words:
        resolved = resolve(typed(context), {})
        check_serves_something(resolved.config)
        return resolved.config
    return resolve(typed(context), {}).config


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    return tmp_path


def commands() -> Iterator[tuple[str, str]]:
    """Each `septet serve ...` of a page that stands in a block of code, with the lines that continue it."""
    for page in all_pages():
        for block in re.findall(r"^ *```(?:sh|console|ini)[^\n]*\n(.*?)^ *```$", page.read_text("utf-8"), re.M | re.S):
            for words in _COMMAND.findall(block.replace("\\\n", " ")):
                yield str(page.relative_to(ROOT)), words.strip()


COMMANDS = list(dict.fromkeys(commands()))
REFUSED = ("-b 8000", "--model EPOLL")
"""Those of the page that shows how mistakes are answered."""


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 40


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{page}-{words}" for page, words in COMMANDS])
def test_commands_are_accepted(page: str, words: str, directory: Path) -> None:
    arguments = shlex.split(words.rstrip("&"))
    if "..." in arguments:
        arguments.remove("...")
    if words.endswith(REFUSED):
        with pytest.raises((click.UsageError, UsageError)):
            config_of(arguments, directory)
        return
    config_of(arguments, directory)


UNITS = [block for block in blocks("ini", SYSTEMD) if block.title]


def test_units_are_valid(tmp_path: Path) -> None:
    """For systemd itself. Programs that a unit names must be there: `true` is put in the place of ours."""
    if shutil.which("systemd-analyze") is None:
        lacking("systemd-analyze", "systemd")
    for block in UNITS:
        text = re.sub(r"^(ExecStart=)\S+", rf"\g<1>{shutil.which('true')}", block.text, flags=re.MULTILINE)
        (tmp_path / block.title).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / block.title) for block in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert len(UNITS) == 4


def test_stop_of_the_units(directory: Path) -> None:
    for unit in (block.text.replace("\\\n", " ") for block in UNITS if block.title.endswith(".service")):
        words = re.search(r"^ExecStart=\S+ serve (.*)$", unit, re.MULTILINE)
        assert words is not None
        config = config_of(shlex.split(words[1]), directory)
        patience = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
        assert patience is not None
        assert float(patience[1]) > config.graceful_timeout + STOP_S


def manifests() -> list[Any]:
    (block,) = blocks("yaml", CONTAINERS)
    return list(yaml.safe_load_all(block.text))


def test_manifests(directory: Path) -> None:
    deployment, service = manifests()
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"] == service["spec"]["selector"]
    program, verb, *words = container["command"] + container["args"]
    assert (program, verb) == ("septet", "serve")
    config = config_of(words, directory)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert config.bind == (f"0.0.0.0:{ports['http']}",)
    assert config.metrics_bind == f"0.0.0.0:{ports['metrics']}"
    paths = {kind: container[kind]["httpGet"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {kind: get["path"] for kind, get in paths.items()} == {
        "startupProbe": "/readyz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/healthz",
    }
    assert {get["port"] for get in paths.values()} == {"metrics"}
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    before_s = float(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["spec"]["terminationGracePeriodSeconds"] > before_s + config.graceful_timeout + STOP_S
    mounts = [mount["name"] for mount in container["volumeMounts"]]
    assert mounts == [volume["name"] for volume in pod["spec"]["volumes"]]


def test_image(directory: Path) -> None:
    (block,) = blocks("dockerfile", CONTAINERS)
    steps = dict(itertools.pairwise(re.split(r"^([A-Z]+) ", block.text, flags=re.MULTILINE)[1:]))
    program, verb, *words = json.loads(steps["CMD"])
    assert (program, verb) == ("septet", "serve")
    config = config_of(words, directory)
    exposed = {int(port) for port in steps["EXPOSE"].split()}
    assert exposed == {int(each.rpartition(":")[2]) for each in (*config.bind, config.metrics_bind or "")}


def test_toml_examples_are_settings(directory: Path) -> None:
    """Their keys and values are those of options: `tests/test_schema.py` has the rest."""
    for block in blocks("toml"):
        if block.title == "septet.toml":
            (directory / "septet.toml").write_text(_without_places(block))
            resolve({}, {})


def _without_places(block: Block) -> str:
    """Directories of the example need not be here."""
    return re.sub(r"^static = .*$", f'static = "/={os.getcwd()}"', block.text, flags=re.MULTILINE)
