"""The volume as of one commit."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aurolog import _core
from aurolog.clock import time_of
from aurolog.errors import ClosedError

__all__ = ["View"]


class View:
    """A stable look at the volume as of one commit, made by ``Volume.at``.

    It reads like the volume: ``view[page]``, ``read_into``, ``read_many``, ``view_page``, ``len``.
    What the writer does meanwhile does not show. ``close`` gives back what it holds; so does the
    end of a ``with`` block, or of its last reference.
    """

    __slots__ = ("__weakref__", "_store", "_view", "lsn", "page_size", "time")

    __iter__ = None

    def __init__(self, store: _core.Store, lsn: int) -> None:
        self._store = store
        self._view: _core.View | None = store.open_view(lsn)
        #: the commit LSN really reached
        self.lsn: int = self._view.lsn
        #: when that was committed; ``None`` at LSN 0
        self.time: datetime | None = time_of(self._view.time_ns) if self.lsn else None
        self.page_size: int = store.page_size

    def _handle(self) -> Any:
        view = self._view
        if view is None:
            raise ClosedError("the view is closed: ask the volume for a new one")
        return view.handle

    def __getitem__(self, page: int) -> bytes:
        return self._store.read(self._handle(), page)

    def read_into(self, page: int, buffer: Any) -> None:
        """See ``Volume.read_into``."""
        self._store.read_into(self._handle(), page, buffer)

    def read_many(self, pages: Any, out: Any = None) -> memoryview:
        """See ``Volume.read_many``."""
        return self._store.read_many(self._handle(), pages, out)

    def view_page(self, page: int) -> memoryview:
        """See ``Volume.view_page``."""
        return self._store.pin(self._handle(), page)

    def __len__(self) -> int:
        self._handle()
        assert self._view is not None
        return self._view.end_pages

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> View:
        self._handle()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives back what the view holds. Harmless a second time."""
        self._view = None

    def __repr__(self) -> str:
        return f"<aurolog.View of LSN {self.lsn}{'' if self._view else ', closed'}>"
