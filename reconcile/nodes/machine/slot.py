"""Slots: which numbers of this machine are taken by nodes, so that parallel runs do not share an address.

A slot is a number from 1 to 254. It gives the node an address of its own (and so a kubelet's ports) and a Pod subnet of
its own. It is held by a file lock that the node's supervisor keeps until the node is gone: a lock cannot be left behind
by a crash.
"""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

import attrs

from reconcile.errors import ConfigurationError
from reconcile.nodes.machine.supervisor import remove_remains

SLOTS_DIRECTORY = Path("/run/reconcile-nodes")
"""Root's alone, and gone after a restart of the machine, as nodes are."""

NODE_NETWORK = "203.0.113"
"""Of the nodes' addresses: a range that no network uses (RFC 5737, TEST-NET-3)."""

SLOT_MAX = 254
"""One byte of an address; a machine of 64 GB is full at about 250 nodes (150 MB each)."""


_log = logging.getLogger("reconcile.nodes")


@attrs.frozen
class Slot:
    """A taken slot."""

    number: int
    lock: int
    """Descriptor of the locked file. The lock lasts until every process that inherited it has closed it."""

    @property
    def address(self) -> str:
        """The node's address on the loopback interface.

        A kubelet refuses an address of 127.0.0.0/8 for its node, and listening on all addresses would offer
        ``kubectl exec`` to the network.
        """
        return f"{NODE_NETWORK}.{self.number}"

    @property
    def pod_subnet(self) -> str:
        """The Pods' addresses: they stay in the loopback range, so they collide with no network of the machine."""
        return f"127.{self.number}.0.0/16"

    def release(self) -> None:
        """Close this process's end of the lock."""
        os.close(self.lock)


def take_slot(directory: Path) -> Slot:
    """The first free slot, for a node that lives in ``directory``.

    What a crashed predecessor left (its supervisor was killed too) is removed first.

    Raises:
        ConfigurationError: no slot is free, or root's directory for them cannot be made.
    """
    try:
        SLOTS_DIRECTORY.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"starting a node: cannot make {SLOTS_DIRECTORY}: {error.strerror}") from error
    for number in range(1, SLOT_MAX + 1):
        lock = os.open(SLOTS_DIRECTORY / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        slot = Slot(number, lock)
        predecessor = os.pread(lock, 4096, 0).decode()
        problems = remove_remains(Path(predecessor), slot.address) if predecessor else []
        if problems:
            _log.warning("slot %d is left unused: of its last node there is still: %s", number, "; ".join(problems))
            slot.release()
            continue
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(directory).encode(), 0)
        return slot
    raise ConfigurationError(
        f"starting a node: all {SLOT_MAX} slots in {SLOTS_DIRECTORY} are taken; stop a node that runs on this machine"
    )
