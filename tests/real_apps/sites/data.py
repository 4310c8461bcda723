"""Where an application has its files: a directory of its own for each run, named by the environment."""

import os
from pathlib import Path

from support.journal import VARIABLE

DIRECTORY = Path(os.environ[VARIABLE])
