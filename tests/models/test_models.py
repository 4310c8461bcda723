"""What the models' modules say of themselves."""

import importlib
import subprocess
import sys

import pytest

from septet import models

NAMES = ("iterative", "forking", "preforked", "threaded", "prethreaded", "poll", "epoll", "io_uring", "interpreters")


def test_names_in_their_order() -> None:
    assert models.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_description_is_one_line_that_ends_as_one(name: str) -> None:
    description = models.description(name)
    assert 10 < len(description) < 120
    assert description.endswith(".")
    assert description == (importlib.import_module(f"septet.models.{name}").__doc__ or "").splitlines()[0]


def test_descriptions_differ() -> None:
    assert len({models.description(name) for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_model_can_be_loaded(name: str) -> None:
    assert models.load(name) is importlib.import_module(f"septet.models.{name}").run


@pytest.mark.parametrize("name", NAMES)
def test_obstacle_is_a_sentence_or_none(name: str) -> None:
    obstacle = models.obstacle(name)
    if name in ("io_uring", "interpreters") and obstacle is not None:
        assert len(obstacle) > 10
    else:
        assert obstacle is None


@pytest.mark.parametrize(
    ("name", "takes", "concurrency"),
    [
        ("iterative", {"workers"}, ""),
        ("forking", set(), "processes"),
        ("preforked", {"workers"}, "processes"),
        ("threaded", {"workers"}, "threads"),
        ("prethreaded", {"workers", "threads"}, "threads"),
        ("poll", {"workers", "threads"}, "threads"),
        ("epoll", {"workers", "threads"}, "threads"),
        ("io_uring", {"workers", "threads"}, "threads"),
        ("interpreters", {"workers", "threads"}, "interpreters"),
    ],
)
def test_size_and_concurrency(name: str, takes: set[str], concurrency: str) -> None:
    assert (set(models.takes(name)), models.concurrency(name)) == (takes, concurrency)


def test_telling_of_the_models_imports_none() -> None:
    """`septet models --names` and `--help` answer at once, and on machines that cannot run them all."""
    code = (
        "import sys; from septet import models\n"
        "for name in models.names(): models.description(name), models.takes(name)\n"
        "print([name for name in models.names() if 'septet.models.' + name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
