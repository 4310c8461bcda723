"""The choice of a store by GUESTBOOK_STORE: what is taken without one, and what is refused with which sentence."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from septet.errors import Failed, UsageError
from septet.examples.guestbook.store import open_async_store, open_store


def test_without_a_choice_it_is_a_file_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store({})
    assert list(tmp_path.iterdir()) == []  # nothing is made before it is needed
    store.count_view()
    store.close()
    assert (tmp_path / "guestbook.sqlite3").exists()


def test_a_relative_path_stays_where_it_was_when_the_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store({"GUESTBOOK_STORE": "sqlite:///book"})
    monkeypatch.chdir("/")
    store.count_view()
    store.close()
    assert (tmp_path / "book").exists()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://localhost/x",
        "guestbook.sqlite3",
        "sqlite:",
        "sqlite:///",
        "sqlite://book",
        "sqlite:///:memory:",
        "sqlite:////no/such/directory/book",
        "sqlite:////tmp",
        "redis://",
        "redis:///0",
        "redis://localhost:port/0",
        "redis://localhost:99999/0",
        "redis://localhost:6379/first",
    ],
)
@pytest.mark.parametrize("opener", [open_store, open_async_store])
def test_a_wrong_choice_is_one_sentence(opener: Callable[[dict[str, str]], object], url: str) -> None:
    with pytest.raises(UsageError) as caught:
        opener({"GUESTBOOK_STORE": url})
    assert "GUESTBOOK_STORE" in str(caught.value)
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_redis_without_its_client_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "septet.examples.guestbook.redis_store", raising=False)
    monkeypatch.setitem(sys.modules, "redis", None)  # what the import system takes for "not there"
    with pytest.raises(Failed, match=r"pip install 'septet\[redis\]'"):
        open_store({"GUESTBOOK_STORE": "redis://localhost:6379/0"})
