"""An extension module that does not declare that it can do without the GIL, as those whose authors have not thought of
it.
"""

import subprocess
import sysconfig
from pathlib import Path

SOURCE = """
#include <Python.h>
static PyModuleDef_Slot slots[] = {{0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "thoughtless", NULL, 0, NULL, slots};
PyMODINIT_FUNC PyInit_thoughtless(void) { return PyModuleDef_Init(&definition); }
"""


def build(directory: Path) -> None:
    """Make the module `thoughtless` in the directory, for this Python."""
    source = directory / "thoughtless.c"
    source.write_text(SOURCE)
    target = directory / f"thoughtless{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = sysconfig.get_path("include")
    subprocess.run(["cc", "-shared", "-fPIC", f"-I{include}", str(source), "-o", str(target)], check=True, timeout=60)
