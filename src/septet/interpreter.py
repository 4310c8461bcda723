"""What this Python does with its global lock (the GIL), and which extension module has turned it on.

A free-threaded build of CPython (PEP 703; `python3.13t`) runs the threads of a process at the same time. It starts
without the GIL, but turns it on for the rest of the process when it imports an extension module that does not declare
that it can do without.
"""

import logging
import os
import sys
import sysconfig
import warnings
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from types import ModuleType
from typing import Any

log = logging.getLogger("septet")


def is_free_threaded() -> bool:
    """Return whether this Python is a build that can run without a global lock."""
    return bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def has_gil() -> bool:
    """Return whether only one thread of this process can run at a time, because there is a global lock. This may change
    from False to True when an extension module is imported.
    """
    enabled: Any = getattr(sys, "_is_gil_enabled", None)  # since Python 3.13
    return enabled is None or bool(enabled())


def gil_state() -> str:
    """Return what this Python does with its global lock as a part of a sentence that begins with "This Python", such as
    "runs without a global lock (the GIL): ..."
    """
    if not is_free_threaded():
        return "has a global lock (the GIL): one thread of a process runs at a time"
    if not has_gil():
        return "runs without a global lock (the GIL): the threads of a process run at the same time"
    return "can run without a global lock (the GIL), which is turned on: one thread of a process runs at a time"


def warn_if_gil_is_turned_on() -> None:
    """Log a warning, once, if an extension module that is imported from now on turns the global lock on.

    Does nothing if the lock is on already: in a usual build of Python it always is, and in a free-threaded one the user
    may have asked for it (PYTHON_GIL=1). CPython's own warning is suppressed, because one is enough. To be called only
    in a process of the server, because it replaces a method of `importlib`'s loader of extension modules.
    """
    if has_gil():
        return
    warnings.filterwarnings("ignore", "The global interpreter lock", RuntimeWarning)
    create = ExtensionFileLoader.create_module

    def create_and_look(loader: ExtensionFileLoader, spec: ModuleSpec) -> ModuleType:
        module = create(loader, spec)
        if has_gil():  # while a module is loaded it is on in any case, and off again after that
            ExtensionFileLoader.create_module = create  # type: ignore[method-assign]
            log.warning(
                "SEP161 the module %s has turned the global lock (the GIL) on in process %d, which now runs one thread "
                "at a time: %s does not declare that it can do without",
                spec.name,
                os.getpid(),
                spec.origin,
            )
        return module

    ExtensionFileLoader.create_module = create_and_look  # type: ignore[assignment, method-assign]
