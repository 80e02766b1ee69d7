"""Hello world: each ConfigMap with the label `hello` gets a greeting, which comes back when it is deleted or changed.

Run it in one terminal, and try it in another:

    reconcile run hello:app
    kubectl create configmap world && kubectl label configmap world hello=World
    kubectl get configmap world-greeting -o yaml
"""

from reconcile import App, Context, Object

app = App("hello")


@app.controller("v1/ConfigMap", labels="hello", owns=["v1/ConfigMap"])
async def hello(obj: Object, ctx: Context) -> None:
    name, text = f"{obj.name}-greeting", f"Hello, {obj.labels['hello']}!"
    await ctx.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text}})
