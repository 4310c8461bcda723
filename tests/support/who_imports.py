"""Which test files import a package, directly or through modules of `support`: what cannot run where it is missing.

    cd tests && python -m support.who_imports PACKAGE...

prints the paths of these files, from the root of the project.
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent.parent


def names_in(path: Path) -> Iterator[str]:
    """The modules that a file imports when it is imported itself."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def needs(path: Path) -> frozenset[str]:
    """The packages outside of the tests that a file needs to be imported."""
    found: set[str] = set()
    for name in names_in(path):
        own = TESTS.joinpath(*name.split(".")).with_suffix(".py")
        found |= needs(own) if own.exists() and own != path else {name.partition(".")[0]}
    return frozenset(found)


def main(packages: list[str]) -> None:
    for path in sorted(TESTS.rglob("test_*.py")):
        if needs(path) & set(packages):
            print(path.relative_to(TESTS.parent))


if __name__ == "__main__":
    main(sys.argv[1:])
