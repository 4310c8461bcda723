"""Autobahn's test suite for WebSocket (by kosoku): all of its cases against a server, under the models named.

python -m support.autobahn epoll io_uring threaded preforked      # in tests/; some minutes for each
python -m support.autobahn epoll --cases '1.*,9.1.1'
"""

import argparse
import asyncio
import sys
import warnings
from collections.abc import Sequence

from kosoku import FailureError, run_fuzzingclient

from support.server import serve

APP = "support.app_websocket:app"

#: What the specification leaves open: input after a close frame, and close codes that stand for nothing.
LEFT_OPEN = {"7.1.6", "7.13.1", "7.13.2"}


def failures(model: str, cases: Sequence[str] | None = None) -> tuple[int, list[str]]:
    """Run these cases, or all: how many there were, and what each has to say that was not answered strictly."""
    with serve(model, "asgi", app=APP) as server:
        assert isinstance(server.address, tuple)
        url = "ws://{}:{}/echo".format(*server.address)
        try:
            warnings.simplefilter("ignore", ResourceWarning)  # the cases leave files open
            results = asyncio.run(run_fuzzingclient(url, cases=cases, concurrency=4))
        except FailureError as error:
            results = error.results
        assert not server.complaints()
    wrong = []
    for result in results:
        verdicts = {result.behavior.value, result.behavior_close.value}
        if verdicts != {"OK"} and not (verdicts == {"INFORMATIONAL"} and result.case_id in LEFT_OPEN):
            wrong.append(f"{result.case_id}: {result.behavior.value}, {result.behavior_close.value}: {result.result}")
    return len(results), wrong


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=["epoll"])
    parser.add_argument("--cases", type=lambda text: text.split(","))
    options = parser.parse_args()
    failed = 0
    for model in options.models:
        count, wrong = failures(model, options.cases)
        print(f"{model}: {count} cases, {len(wrong)} not as they should be", *wrong, sep="\n  ", flush=True)
        failed += bool(wrong)
    return failed


if __name__ == "__main__":
    sys.exit(main())
