"""What holds for all tests: the processes that they start by the thousand may keep their bytecode.

Where PYTHONDONTWRITEBYTECODE is set, as in many images of containers, each server would compile all of Septet at its
start, which takes two fifths of the start's CPU time.

The garbage collector looks at the collected tests, which are many thousands, only once in each process: a full
collection would otherwise look at them again each time, while they are made and while they run.
"""

import gc
import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from support.models import MODELS

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# In the background of a script these are ignored, and servers that tests start would inherit that and not hear them.
for _number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")
"""Examples may have to wait for a CPU; `test_streams` measures the cost in a way that excludes waiting."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--models", default="", help="of the contract's tests, only those for these models")


BEGUN_FIRST = ("test_cpython.py", "test_report_pictures.py", "test_report_page.py")
"""Files that take minutes. Each is run by one process: if they began last, the others would wait for it."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in BEGUN_FIRST)
    others = set(MODELS) - set(config.getoption("--models").split(","))
    if others == set(MODELS):
        return
    left_out = {item for item in items if item.path.parent.name == "contract" and others & _models_of(item)}
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=list(left_out))


def _models_of(item: pytest.Item) -> set[object]:
    """What may be a model among its parameters, by itself or before its options in a tuple."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    found = (each[0] if isinstance(each, tuple) and each else each for each in parameters)
    return {each for each in found if isinstance(each, str)}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="module")
def executed() -> Generator[None]:
    """Servers are programs that are executed, and not children that `support.starter` forks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTRACT_START", "exec")
        yield
