"""TLS in a measurement: makes a certificate for the run, which clients accept without checking."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from septet.errors import Failed
from septet.lab import output

DIRECTORY = "tls"
HELP = "Over TLS, with a certificate that is made for the measurement (needs the extra [tls])."


def serve_options(out: Path, host: str) -> tuple[str, ...]:
    """Make a certificate for `host` in the directory of the results, and return the options of `septet serve` for it.

    Raises Failed, with the error message of `septet certificate`, if no certificate can be made.
    """
    directory = output.make(out / DIRECTORY).absolute()
    command = [sys.executable, "-m", "septet", "certificate", host, "--force"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"--tls: {done.stderr.strip().removeprefix('septet: ')}")
    stem = directory / host.replace(":", "_")
    return "--tls-certificate", f"{stem}.pem", "--tls-key", f"{stem}.key"
