"""The suites of others that can be told to run on uvloop, and what to do to them. Nothing of theirs is in this tree."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Suite:
    """One package, by the name of its source distribution.

    Attributes:
        version: what the list of deviations holds for.
        files: what is unpacked of the source distribution; not the package, which would hide the installed one.
        directory: where pytest starts, below what was unpacked.
        needs: packages that its tests import.
        arguments: of pytest; they choose the tests that run on "uvloop", which is ours.
    """

    name: str
    version: str
    files: tuple[str, ...]
    directory: str = "."
    needs: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


UVLOOP = Suite(
    name="uvloop",
    version="0.23.0",
    files=("tests", "uvloop/_testbase.py"),
    directory="tests",
    needs=("aiohttp==3.14.5", "psutil", "pyOpenSSL"),
    # Its classes come in pairs, of which one tests asyncio's own loop. Left out: libuv's own interface, Cython, style.
    arguments=(
        "-knot AIO",
        *(f"--ignore=test_{name}.py" for name in ("cython", "fs_event", "libuv_api", "sourcecode")),
    ),
)

ANYIO = Suite(
    name="anyio",
    version="4.16.0",
    files=("tests", "pyproject.toml"),
    needs=("blockbuster", "hypothesis", "psutil", "pytest-mock", "trustme", "truststore"),
    arguments=("-kasyncio+uvloop",),
)

AIOHTTP = Suite(
    name="aiohttp",
    version="3.14.5",
    files=("tests", "pytest.ini"),
    needs=(
        "blockbuster",
        "coverage",
        "freezegun",
        "isal",
        "proxy.py>=2.4.4",
        "pytest-mock",
        "re-assert",
        "trustme",
        "zlib-ng",
    ),
    # Fast: without a garbage collection for each test. Its own configuration leaves the same marks out.
    arguments=(
        "--aiohttp-loop=uvloop",
        "--aiohttp-fast",
        "--ignore-glob=*test_benchmarks_*",
        "-mnot dev_mode and not autobahn and not internal",
    ),
)

SUITES = (UVLOOP, ANYIO, AIOHTTP)

DEVIATIONS: dict[str, dict[str, str]] = {"uvloop": {}, "anyio": {}, "aiohttp": {}}
"""What asyncio's own loop passes and a loop of ours does not, by suite and test, and why."""
