"""What holds for all tests: the processes that they start by the thousand may keep their bytecode.

Where PYTHONDONTWRITEBYTECODE is set, as in many images of containers, each server would compile all of Septet at its
start, which takes two fifths of the start's CPU time.
"""

import os

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
