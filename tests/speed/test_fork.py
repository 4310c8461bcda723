"""What a client costs the model forking, in pages of memory that the kernel copies or maps. Their number hardly depends
on how busy the machine is; it differs from start to start, for Python's memory lies elsewhere each time.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PRICE = Path(__file__).parents[2] / "benchmarks" / "fork_price.py"

CHILD, PARENT = 470, 140
"""Most page faults of a child that says hello, and of its parent, beyond those of a bare fork. Counted on 2026-11-30:
some 355 and 107 (600 and 170 on 2026-11-28).
"""


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="counted with Python 3.11")
def test_pages_of_a_child() -> None:
    command = [
        sys.executable,
        str(PRICE),
        "--json",
        "--rounds",
        "2",
        "--clients",
        "10",
        "septet.examples.causes.wsgi:hello",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    ((client, bare, *_),) = json.loads(said).values()
    (_, of_parent, of_child), (_, bare_parent, bare_child) = client, bare
    assert of_child - bare_child <= CHILD
    assert of_parent - bare_parent <= PARENT
