"""An object of which one method fails the first time, as if there had been no memory."""

from typing import Any


class FailsOnce:
    """Stands for `whole`: its method `name` raises `error` when it is called first."""

    def __init__(self, whole: Any, name: str, error: type[Exception] = MemoryError) -> None:
        self._whole = whole
        self._name = name
        self._error = error
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        if name == self._name and not self.failed:
            return self._fail
        return getattr(self._whole, name)

    def _fail(self, *_: object) -> None:
        self.failed = True
        raise self._error("deliberate")
