"""How the parts of the cluster work: a key from the queue, a look, writes; what fails is tried again later."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

from reconcile.client.api import Client
from reconcile.core.workqueue import K
from reconcile.errors import ConflictError, NotFoundError, ReconcileError
from reconcile.model.write import Refused, Unknown, Write
from reconcile.runtime.workqueue import WorkQueue

__all__ = ["send", "work"]

_log = logging.getLogger("reconcile.cluster")


async def work(queue: WorkQueue[K], look: Callable[[K], Awaitable[None]]) -> NoReturn:
    """Look at each key that the queue gives, until cancelled. A key whose look raises ReconcileError comes again."""
    while True:
        key = await queue.get()
        try:
            await look(key)
        except ReconcileError as error:
            delay_seconds = queue.add_rate_limited(key)
            _log.warning("%s: %s failed, again in %.2f s: %s", queue.name, key, delay_seconds, error)
        else:
            queue.forget(key)
        finally:
            queue.done(key)


async def send(client: Client, write: Write) -> bool:
    """Whether a write was done. It is not where the object is gone, or has changed: a watch tells of that.

    Raises:
        ApiError: refused for another reason.
        ReconcileError: no answer, twice.
    """
    outcome = await client.send(write)
    if isinstance(outcome, Unknown):
        outcome = await client.resolve(write)
    match outcome:
        case Refused(error=NotFoundError() | ConflictError()):
            return False
        case Refused(error=error):
            raise error
        case Unknown(reason=reason):
            raise ReconcileError(f"{write}: {reason}")
        case _:
            return True
