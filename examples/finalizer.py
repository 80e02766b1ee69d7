"""A finalizer: each ConfigMap with the label `mirror` is kept as a file outside the cluster, which goes with it.

    MIRROR_DIRECTORY=/tmp/mirror reconcile run finalizer:app
    kubectl create configmap settings --from-literal=colour=red
    kubectl label configmap settings mirror=file

The finalizer keeps a deleted object in the API server until its file is gone, even if this program does not run when it
is deleted. Both functions may be run again at any time, so each begins by looking at what is there.
"""

import os
from pathlib import Path

from reconcile import App, Context, Object, Result, finalize

FINALIZER = "example.com/file"

app = App("mirror")


@app.controller("v1/ConfigMap")  # no selector: one that loses its label must still be seen when it is deleted
async def mirror(obj: Object, ctx: Context) -> None:
    if "mirror" in obj.labels or FINALIZER in obj.finalizers:
        await finalize(ctx, obj, FINALIZER, apply=write_file, cleanup=remove_file)


async def write_file(obj: Object) -> Result | None:
    wanted = "".join(f"{name}={value}\n" for name, value in sorted((obj.field("data") or {}).items()))
    path = path_of(obj)
    if not path.exists() or path.read_text() != wanted:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted)
    return None


async def remove_file(obj: Object) -> Result | None:
    path_of(obj).unlink(missing_ok=True)
    return None  # nothing is left, so the finalizer is removed; a Result would ask again later


def path_of(obj: Object) -> Path:
    """One file an object. Its uid is in the name: a namesake made later gets a file of its own."""
    return Path(os.environ.get("MIRROR_DIRECTORY", "mirror")) / f"{obj.namespace}.{obj.name}.{obj.uid}"
