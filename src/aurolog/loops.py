"""Event loops: which one runs in this thread, and calls that may block, kept out of its way."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio  # at run time only for those who use it: it takes long to import
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["in_executor", "in_thread", "running_loop"]

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


#: threads for calls that wait for the disk and for nothing else; made when they are first needed
_pool: ThreadPoolExecutor | None = None
_making = threading.Lock()


def _forget_pool() -> None:
    """Its threads are not in a forked child."""
    global _pool, _making
    _pool, _making = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_pool)


def _disk_pool() -> ThreadPoolExecutor:
    global _pool  # noqa: PLW0603 - one for the whole process
    with _making:
        if _pool is None:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - takes long, too

            _pool = ThreadPoolExecutor(thread_name_prefix="aurolog disk")
        return _pool


def in_thread(call: Callable[..., Result], *arguments: Any, **more: Any) -> asyncio.Future[Result]:
    """Makes a call that may wait for the disk in a thread.

    Never one that waits for the writer's place: whoever has it may need a thread here to go on.
    Whoever is cancelled while it waits does not stop the call.
    """
    from asyncio import get_running_loop  # noqa: PLC0415 - see above

    return get_running_loop().run_in_executor(_disk_pool(), partial(call, *arguments, **more))


def in_executor(
    call: Callable[..., Result], *arguments: Any, **more: Any
) -> asyncio.Future[Result]:
    """Makes a call that may wait for others, in a thread of the running loop's executor."""
    from asyncio import get_running_loop  # noqa: PLC0415 - see above

    return get_running_loop().run_in_executor(None, partial(call, *arguments, **more))
