"""A program of its own process for the leader election tests: while it leads, it writes five times a second.

Arguments: kubeconfig, namespace, name of the Lease, lease seconds.
"""

from __future__ import annotations

import logging
import sys
import uuid
from pathlib import Path

from reconcile import App, Context, LeaderElectionConfig, LeaseLostError, MergePatch, Object, Result, RunOptions

WRITE_SECONDS = 0.2

app = App("lease-test")


@app.controller("v1/ConfigMap", labels="role=counter", where=lambda delta: delta.old is None, read_own_writes=False)
async def count(obj: Object, ctx: Context) -> Result:
    """Write, again and again, but not because of what was just written."""
    await ctx.patch(obj, MergePatch({"data": {"token": str(ctx.fencing_token), "run": ctx.reconcile_id}}))
    return Result(requeue_after_seconds=WRITE_SECONDS)


def main() -> int:
    kubeconfig, namespace, lease, seconds = sys.argv[1:5]
    election = LeaderElectionConfig(
        name=lease,
        namespace=namespace,
        identity=f"test_{uuid.uuid4()}",
        lease_seconds=float(seconds),
        renew_deadline_seconds=float(seconds) * 2 / 3,
        retry_seconds=float(seconds) / 8,
    )
    logging.basicConfig(level=logging.INFO)
    try:
        app.run(options=RunOptions(kubeconfig=Path(kubeconfig), namespaces=(namespace,), leader_election=election))
    except LeaseLostError as error:
        logging.warning("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
