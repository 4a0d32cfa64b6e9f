"""The volume as of one commit."""

from __future__ import annotations

from datetime import datetime
from typing import SupportsIndex

from aurolog import _core
from aurolog.clock import time_of
from aurolog.errors import ClosedError

__all__ = ["View"]


class View(_core.Pages):
    """A stable look at the volume as of one commit, made by ``Volume.at``.

    It reads like the volume: ``view[page]``, ``read_into``, ``read_many``, ``view_page``, ``len``.
    What the writer does meanwhile does not show. ``close`` gives back what it holds; so does the
    end of a ``with`` block, or of its last reference.
    """

    __slots__ = ("__weakref__", "_native")

    def __init__(self, store: _core.Store, lsn: SupportsIndex) -> None:
        native = store.open_view(lsn)
        super().__init__(store, native.handle)
        self._native = native

    @property
    def lsn(self) -> int:
        """The commit LSN really reached."""
        return self._native.lsn

    @property
    def time(self) -> datetime | None:
        """When that was committed, in UTC; ``None`` at LSN 0."""
        return time_of(self._native.time_ns) if self._native.lsn else None

    @property
    def time_ns(self) -> int:
        """The same in nanoseconds since the Unix epoch, exactly; 0 at LSN 0."""
        return self._native.time_ns

    def _check_open(self) -> None:
        if self._view is None:
            raise ClosedError("the view is closed: ask the volume for a new one")

    def __len__(self) -> int:
        self._check_open()
        return self._native.end_pages

    def __enter__(self) -> View:
        self._check_open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives back what the view holds. Harmless a second time."""
        self._view = None
        self._native.handle = None

    def __repr__(self) -> str:
        return f"<aurolog.View of LSN {self.lsn}{'' if self._view else ', closed'}>"
