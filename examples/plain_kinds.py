"""Plain (built-in) kinds: deletes finished Pods some time after they ended, as their label says.

    reconcile run plain_kinds:app
    kubectl run sleepy --image=busybox --restart=Never --labels=example.com/keep-seconds=60 -- sleep 5

Pods without the label are neither watched nor cached: the API server filters. A duration that is returned runs the
function again after that time, whatever happens in between.
"""

from datetime import datetime, timedelta

from reconcile import App, Context, Object, TerminalError

LABEL = "example.com/keep-seconds"

app = App("janitor")


@app.controller("v1/Pod", labels=LABEL)
async def janitor(pod: Object, ctx: Context) -> timedelta | None:
    ended = ended_at(pod)
    if ended is None or pod.is_deleting:
        return None
    label = pod.labels[LABEL]
    if not label.isdecimal():
        raise TerminalError(f"label {LABEL} is {label!r}; want a number of seconds")  # not retried until it changes
    left = ended + timedelta(seconds=int(label)) - ctx.now()
    if left > timedelta(0):
        return left
    await ctx.delete(pod)  # with the Pod's uid as precondition: never a namesake made since
    return None


def ended_at(pod: Object) -> datetime | None:
    """When the last container of a finished Pod ended."""
    status = pod.field("status") or {}
    if status.get("phase") not in ("Succeeded", "Failed"):
        return None
    ends = [
        datetime.fromisoformat(terminated["finishedAt"])
        for container in status.get("containerStatuses", [])
        if (terminated := container.get("state", {}).get("terminated"))
    ]
    return max(ends, default=None)
