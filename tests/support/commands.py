"""`septet COMMAND` as a user runs it in a shell: the command to its end, and whether a server of its runs."""

import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from septet import cli
from septet.settings.command import run

PATIENCE_S = 280.0
"""For a command that draws pictures: they take 4 s of CPU time, and minutes where twenty others want the CPU. A test
that draws them needs `pytest.mark.timeout(300)`."""


def septet(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "septet", *words], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S
    )


def septet_here(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The same in this process, for what is refused before anything begins: a process would need most of its time to
    start. `test_cli` shows that processes end so."""
    output, complaints = StringIO(), StringIO()
    arguments = [str(word) for word in words]
    with chdir(cwd or Path.cwd()), redirect_stdout(output), redirect_stderr(complaints):
        status = run(cli.septet, arguments)
    return subprocess.CompletedProcess(arguments, status, output.getvalue(), complaints.getvalue())


def serving(app: str) -> bool:
    """Whether a `septet serve` of this application runs."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", name, "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "serve" in words and app in words:
            return True
    return False


def first_words(output: str) -> list[str]:
    """The first words of the lines of the tables; above them is a sentence on a machine with other things to do."""
    words = [line.split()[0] if line else "" for line in output.splitlines()]
    return words[words.index("requests/s") :]
