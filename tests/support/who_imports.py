"""Which test files import a package, directly or through modules of `support` or of Septet: what cannot run where it is
missing.

    cd tests && python -m support.who_imports PACKAGE...

prints the paths of these files, from the root of the project.
"""

import ast
import sys
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent.parent
SOURCE = TESTS.parent / "src"


@cache
def names_in(path: Path) -> tuple[str, ...]:
    """The modules that a file imports when it is imported itself."""
    found: list[str] = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)


@cache
def own_file(name: str) -> Path | None:
    """The file of a module of the tests or of Septet; None for any other name."""
    places = (root.joinpath(*name.split(".")) for root in (TESTS, SOURCE))
    files = (file for place in places for file in (place.with_suffix(".py"), place / "__init__.py"))
    return next((file for file in files if file.exists()), None)


def needs(path: Path) -> set[str]:
    """The packages outside of the tests and of Septet that a file needs to be imported."""
    found: set[str] = set()
    seen, waiting = {path}, [path]
    while waiting:
        for name in names_in(waiting.pop()):
            own = own_file(name)
            if own is None:
                found.add(name.partition(".")[0])
            elif own not in seen:
                seen.add(own)
                waiting.append(own)
    return found


def main(packages: list[str]) -> None:
    for path in sorted(TESTS.rglob("test_*.py")):
        if needs(path) & set(packages):
            print(path.relative_to(TESTS.parent))


if __name__ == "__main__":
    main(sys.argv[1:])
