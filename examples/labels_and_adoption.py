"""Labels and adoption: an Album claims the ConfigMaps that carry its label, and lets go of those that lose it.

    kubectl apply -f manifests/album.yaml
    reconcile run labels_and_adoption:app

The label says what an object is meant for, the controller reference whose it is. So two controllers may use the same
labels and never fight: what another one controls is not touched. The rules are those of the built-in controllers.
"""

from collections.abc import Iterable

from reconcile import (
    App,
    Context,
    Object,
    ObjectKey,
    Request,
    StrategicMergePatch,
    controller_of,
    controller_reference,
    mapped,
)

ALBUM, PICTURE, LABEL = "example.com/v1/Album", "v1/ConfigMap", "example.com/album"


def album_by_label(picture: Object) -> Iterable[ObjectKey]:
    """The Album that a picture's label names. Asked before and after a change, so that both Albums wake."""
    name = picture.labels.get(LABEL)
    return [ObjectKey(picture.namespace, name)] if name else []


async def reconcile(request: Request, ctx: Context) -> None:
    album = ctx.get(ALBUM, request.name)
    if album is None or album.is_deleting:
        return  # what it owned is the garbage collector's

    for picture in ctx.list(PICTURE, labels={LABEL: album.name}):
        if controller_of(picture) is None and not picture.is_deleting and await is_alive(album, ctx):
            await ctx.patch(picture, owners(controller_reference(album)))
            ctx.event("Adopted", f"Adopted ConfigMap {picture.name}")

    for picture in ctx.owned(PICTURE):
        if picture.labels.get(LABEL) != album.name and not picture.is_deleting:
            await ctx.patch(picture, owners({"$patch": "delete", "uid": album.uid}))
            ctx.event("Released", f"Released ConfigMap {picture.name}")


async def is_alive(album: Object, ctx: Context) -> bool:
    """Asks the server: the cache may show an Album that is gone, and a picture given to it would be collected."""
    live = await ctx.read(ALBUM, album.name)
    return live.uid == album.uid and not live.is_deleting


def owners(entry: object) -> StrategicMergePatch:
    """A patch of one entry of the list of owners; the others stay. ``Context.patch`` adds the uid as precondition."""
    return StrategicMergePatch({"metadata": {"ownerReferences": [entry]}})


app = App("albums")
app.add(
    app.builder(ALBUM, name="albums")
    .owns(PICTURE)  # wakes the Album that controls a picture
    .watches(PICTURE, enqueue=mapped(album_by_label))  # wakes the one that its label names
    .build(reconcile)
)
