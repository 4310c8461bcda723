"""Each attack of `make siege` once, with few clients, on one model; and that a siege can be lost.

The models take turns, so that all of them are attacked. The long form is `make siege`, see run.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from siege.attacks import ATTACKS, Attack
from support.models import MODELS, refusal

PROGRAM = Path(__file__).with_name("run.py")

FEW = ["--scale", "0.02", "--seconds", "4", "--patience", "8"]


def siege(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=dict(os.environ))


def model_of(attack: Attack) -> str:
    """The models take turns, from the last."""
    at = ATTACKS.index(attack)
    return next(model for model in MODELS[::-1][at % len(MODELS) :] + MODELS[::-1] if model in attack.models)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack(attack: Attack, tmp_path: Path) -> None:
    model = model_of(attack)
    if refusal(model):
        model = "epoll"
    told = tmp_path / "told"
    done = siege("--models", model, "--attacks", attack.name, "--interfaces", "wsgi", *FEW, "--json", str(told))
    assert done.returncode == 0, done.stdout + done.stderr
    [row] = map(json.loads, told.read_text().splitlines())
    assert row["attack"] == attack.name
    assert row["did"]
    assert row["answered"] >= 2


def test_a_siege_that_is_lost() -> None:
    """No server ends in no time."""
    done = siege("--models", "epoll", "--attacks", "pipelining", *FEW, "--patience", "0")
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "the server took" in done.stdout.rpartition("attacks were withstood")[2]


def test_list_and_unknown_names() -> None:
    listed = siege("--list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [attack.name for attack in ATTACKS]
    assert all(len(line.split()) > 5 for line in listed)
    wrong = siege("--attacks", "flattery")
    assert wrong.returncode == 2
    assert "no flattery; there are stalled-worker, " in wrong.stderr
