"""Records what `septet bench` adds after the last run of an experiment: where the time of a request goes, and traces.
Recording takes CPU time, so it must not happen during the runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from septet.lab.bench import write
from septet.lab.caveats import unrecorded
from septet.lab.experiment import Experiment
from septet.lab.results import Results
from septet.lab.rounds import left_s
from septet.lab.where import recording

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Afterwards:
    """What is recorded after the last run of an experiment, since recording takes CPU time."""

    where: bool = False
    """True: record where the time of a request goes (`septet.lab.where`)."""
    trace: bool = False
    """True: record a trace of each model (`septet.lab.trace`)."""

    def kept_s(self, experiment: Experiment) -> float:
        """Return how many seconds of the experiment's time limit (`--for`) must be left after the last run, to record
        where the time of a request goes. A trace needs none of them, because the limit does not include it.
        """
        assert experiment.for_s is not None, "it has a limit in time"
        wanted = self.where and experiment.models and not experiment.cluster
        return recording.reserved_s(experiment.for_s) if wanted else 0.0

    def record(self, experiment: Experiment, recorded: Results, tell: Tell) -> None:
        """Make the recordings that are switched on: where the time of a request goes, which is added to results.json,
        and traces. `tell` is called with lines about progress and about what could not be recorded, which is no error.
        Raises Failed if the results cannot be written.
        """
        if self.where and experiment.models:
            self._record_where(experiment, recorded, tell)
        if self.trace:
            from septet.lab.trace.experiment_trace import trace_experiment  # it needs Altair, which is an extra

            trace_experiment(experiment, recorded["command"], tell)

    def _record_where(self, experiment: Experiment, recorded: Results, tell: Tell) -> None:
        limit_s = recording.LIMIT_S
        if experiment.for_s is not None:  # the last round may have taken longer than it had
            limit_s = min(limit_s, max(left_s(experiment, recorded), self.kept_s(experiment)))
        try:
            found = recording.record(experiment, limit_s, tell)
            for sentence in unrecorded({**found, "skipped": None}):
                tell(sentence)
            recorded["where"] = found
        except KeyboardInterrupt:  # the figures are complete
            recorded["where"] = recording.nothing("it was interrupted", tell)
        write(recorded, experiment)
