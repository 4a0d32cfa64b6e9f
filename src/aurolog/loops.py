"""Event loops: which one runs in this thread, and calls that may block, kept out of its way."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio  # at run time only for those who use it: it takes long to import

__all__ = ["in_thread", "running_loop"]

Result = TypeVar("Result")


#: asyncio's own, once somebody has imported that
_running: Callable[[], asyncio.AbstractEventLoop | None] | None = None


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in the calling thread, whoever has made it."""
    global _running  # noqa: PLW0603 - found once
    if _running is None:
        _running = getattr(sys.modules.get("asyncio.events"), "_get_running_loop", None)
        if _running is None:
            return None
    return _running()


def in_thread(call: Callable[..., Result], *arguments: Any, **more: Any) -> asyncio.Future[Result]:
    """Makes a call that may block in a thread of the running loop's executor.

    Whoever is cancelled while it waits does not stop the call.
    """
    from asyncio import get_running_loop  # noqa: PLC0415 - see above

    return get_running_loop().run_in_executor(None, partial(call, *arguments, **more))
