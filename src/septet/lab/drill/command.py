"""`septet bench --drill`: runs the drill of each model in turn, and prints the outcomes."""

from __future__ import annotations

import click

from septet.errors import Failed
from septet.lab.drill import drill as drills
from septet.lab.experiment import Experiment

DURATION_S = 10.0
EVERY_S = 1.0


def run(name: str, experiment: Experiment, users: int, rate: float, duration_s: float | None) -> int:
    """Run the drill `name` ("reload", "upgrade", "kill" or "stop") of each model, and print each outcome. A model has
    passed if no request was lost (but those of processes that the drill killed), and the server carried out the order
    and exited with status 0. Returns 0 if all models have passed; otherwise raises Failed.
    """
    drill = drills.Drill(
        name=name, users=users, rate=rate, duration_s=duration_s or DURATION_S, every_s=min(EVERY_S, DURATION_S)
    )
    failed = []
    for model in experiment.models:
        try:
            outcome = drills.run(drill, experiment, model)
        except Failed as error:
            click.echo(f"{model}: {error}")
            failed.append(model)
            continue
        click.echo(drills.sentence(outcome))
        if not outcome.passed:
            failed.append(model)
    if failed:
        raise Failed(f"the drill {name} was not passed by {', '.join(failed)}")
    return 0
