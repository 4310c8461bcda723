"""twine and pip at pypiserver, and a browser."""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from real_apps.visit import Site, expect, expect_status, pattern, step

WHEEL = "seven-1.0-py3-none-any.whl"
UPLOADED = "eight-2.0-py3-none-any.whl"
COMMAND_S = 60


def prepare(directory: Path) -> None:
    """One package in the index, and one to be uploaded."""
    for folder, wheel in (("packages", WHEEL), ("upload", UPLOADED)):
        (directory / folder).mkdir()
        _write_wheel(directory / folder / wheel)


def _write_wheel(path: Path) -> None:
    """The least that pip and twine take for a wheel; always with the same bytes."""
    name, version = path.name.split("-")[:2]
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: A number\n"
    wheel = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    information = f"{name}-{version}.dist-info"
    files = {f"{name}.py": pattern(200_000).decode(), f"{information}/METADATA": metadata}
    files |= {f"{information}/WHEEL": wheel}
    record = "".join(f"{file},,\n" for file in (*files, f"{information}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in (files | {f"{information}/RECORD": record}).items():
            archive.writestr(zipfile.ZipInfo(file), content)


@step
def pages(site: Site) -> None:
    with site.client() as browser:
        expect_status(browser.get("/"))
        assert "seven" in expect_status(browser.get("/simple/")).text
        assert WHEEL in expect_status(browser.get("/simple/seven/")).text
        expect_status(browser.get("/simple/seven"), 301)
        expect_status(browser.get("/simple/nosuch/"), 404)
        wheel = (site.directory / "packages" / WHEEL).read_bytes()
        expect(expect_status(browser.get(f"/packages/{WHEEL}")).content, wheel, "the wheel")


@step
def pip_download(site: Site) -> None:
    _download(site, "seven", site.directory / "packages" / WHEEL)


@step
def twine_upload(site: Site) -> None:
    path = site.directory / "upload" / UPLOADED
    _run("twine", "upload", "--non-interactive", "--disable-progress-bar", "--repository-url", site.url, str(path))
    expect((site.directory / "packages" / UPLOADED).read_bytes(), path.read_bytes(), "what was uploaded")
    expect_status(site.get("/simple/eight/"))
    _download(site, "eight", path)


def _download(site: Site, name: str, wheel: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        options = ("--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--isolated", "--retries", "0")
        _run("pip", "download", *options, "--index-url", f"{site.url}/simple/", "--dest", directory, name)
        expect((Path(directory) / wheel.name).read_bytes(), wheel.read_bytes(), "the downloaded wheel")


def _run(module: str, *arguments: str) -> None:
    credentials = {"TWINE_USERNAME": "anybody", "TWINE_PASSWORD": "anything"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")} | credentials
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
    )
    assert done.returncode == 0, f"{module} {arguments[0]} failed: {(done.stderr or done.stdout)[-300:]}"
