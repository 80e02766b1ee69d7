"""A custom resource that owns ConfigMaps: one for each colour of a Widget, no more and no less.

    kubectl apply -f manifests/widget.yaml
    reconcile run config_map_owner:app
    kubectl apply -f manifests/widget-rainbow.yaml
    kubectl get widgets,configmaps

The Widget is decoded into a class, so a type checker sees through it. What the class does not name is left alone,
because only what changed is ever written.
"""

import msgspec

from reconcile import App, Context, ObjectMeta


class WidgetSpec(msgspec.Struct, frozen=True):
    colours: tuple[str, ...]


class WidgetStatus(msgspec.Struct, frozen=True, rename="camel"):
    observed_generation: int = 0
    ready: int = 0


class Widget(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: WidgetSpec
    status: WidgetStatus = WidgetStatus()


app = App("widgets")


@app.controller("example.com/v1/Widget", owns=["v1/ConfigMap"])
async def widget(obj: Widget, ctx: Context) -> None:
    wanted = {f"{obj.metadata.name}-{colour}": {"colour": colour} for colour in obj.spec.colours}
    present = {config_map.name: config_map for config_map in ctx.owned("v1/ConfigMap")}

    for name, data in wanted.items():
        if name not in present or present[name].field("data") != data:
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
            await ctx.apply(body)  # adds the owner reference
    for name, config_map in present.items():
        if name not in wanted:
            await ctx.delete(config_map)

    status = WidgetStatus(obj.metadata.generation, len(wanted))
    if status != obj.status:
        await ctx.patch_status(status)
