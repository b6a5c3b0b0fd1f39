"""Event loops that finish their running tasks before they close."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class _FinishingLoop(asyncio.SelectorEventLoop):
    """An event loop that waits for all its tasks to end before it closes.

    Orbax reads the arrays of a checkpoint as tasks of one loop, and closes it as soon as one of
    them fails: the others then report to a loop that is gone, "Event loop is closed" on the
    screen, from a thread where it cannot be caught.
    """

    def close(self) -> None:
        """Waits for all tasks, ignores their errors, and closes the loop."""
        if not self.is_closed() and not self.is_running():
            tasks = asyncio.all_tasks(self)
            if tasks:
                self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        super().close()


class _Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return _FinishingLoop()


@contextmanager
def finishing_event_loops() -> Iterator[None]:
    """Every event loop that is made inside of the block finishes its tasks before it closes."""
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_Policy())
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(before)
