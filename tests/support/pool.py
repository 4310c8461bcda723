"""Servers that tests of one process of pytest share: starting one costs more than most tests."""

from pathlib import Path

from support.server import SHARED_GRACEFUL_S, Server, serve


class Pool:
    """The shared servers, each started when it is first asked for."""

    def __init__(self, static: Path) -> None:
        self._static = static
        self._servers: dict[tuple[str, ...], Server] = {}

    def get(self, model: str, interface: str, *options: str, app: str | None = None) -> Server:
        key = (model, interface, app or "", *options)
        server = self._servers.get(key)
        if server is None or not server.running:
            static = ("--static", f"/files={self._static}")
            server = serve(model, interface, "--graceful-timeout", str(SHARED_GRACEFUL_S), *static, *options, app=app)
            self._servers[key] = server.__enter__()
        return server

    def stop(self) -> None:
        """Stop all, then report the first that did not stop well."""
        errors: list[AssertionError] = []
        for server in self._servers.values():
            try:
                server.__exit__(None, None, None)
            except AssertionError as error:
                errors.append(error)
        if errors:
            raise errors[0]
