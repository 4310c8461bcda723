"""What an order that `septet bench` states is worth: results of a disturbed machine beside those of a long quiet run.

    septet bench --for 30m --out quiet                          # alone on the machine: the truth
    python benchmarks/disturb.py --seconds 3600 &               # then ten runs on a disturbed one
    for run in 1 2 3 4 5 6 7 8 9 10; do septet bench --for 4m --out disturbed-$run; done
    python benchmarks/orders.py quiet disturbed-*

For each results directory it prints how many of all pairs are decided or called equal, and every order that the first
one refutes: it has decided the opposite, or a tie that was called equal is decided by more than 5 %. Exit status 1 when
there is one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from septet.lab import results
from septet.lab.pairs import DECIDED, EQUAL, EQUAL_WITHIN, Pair, Standings
from septet.lab.ranking import rankings
from septet.lab.summary import summaries


def standings_of(directory: str) -> dict[int, Standings]:
    """The standings at each number of users."""
    recorded = results.read(Path(directory) / results.NAME)
    return rankings(recorded, summaries(recorded))


def is_refuted(claimed: Pair, truth: Pair) -> bool:
    """Whether the truth says otherwise; what it leaves open refutes nothing."""
    if truth.outcome != DECIDED:
        return False
    if claimed.outcome == DECIDED:
        return claimed.ahead != truth.ahead
    return claimed.outcome == EQUAL and (truth.ratio.low or 1.0) > 1 + EQUAL_WITHIN


def main(directories: list[str]) -> int:
    if len(directories) < 2:
        print(__doc__)
        return 2
    truth = standings_of(directories[0])
    wrong = 0
    for directory in directories:
        for users, found in standings_of(directory).items():
            told = [pair for pair in found.pairs.values() if pair.outcome in (DECIDED, EQUAL)]
            print(f"{directory}, {users:,} users: {len(told)} of {len(found.pairs)} pairs decided or equal")
            known = truth[users].pairs if users in truth else {}
            for pair in told:
                other = known.get(frozenset((pair.ahead, pair.behind)))
                if other is not None and is_refuted(pair, other):
                    wrong += 1
                    print(f"  REFUTED: {pair.ahead} {pair.outcome} {pair.behind}, {pair.ratio}; in truth {other.ratio}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
