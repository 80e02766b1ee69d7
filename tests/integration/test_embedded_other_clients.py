"""Another Python client, unchanged, on the embedded API server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from embedded import api_server, served
from kubernetes_asyncio import client, config, watch


@pytest.mark.asyncio
async def test_kubernetes_asyncio_reads_writes_and_watches(tmp_path: Path) -> None:
    """Its generated models decode what is answered, and its watch hears what happens."""
    async with served(api_server(), tmp_path) as kubeconfig:
        settings = client.Configuration()
        await config.load_kube_config(str(kubeconfig), client_configuration=settings)
        async with client.ApiClient(settings) as connection:
            core, batch = client.CoreV1Api(connection), client.BatchV1Api(connection)
            heard: list[tuple[str, str]] = []
            begun = asyncio.Event()

            async def follow() -> None:
                stream = watch.Watch()
                async with stream.stream(core.list_namespaced_config_map, "default", timeout_seconds=20) as events:
                    async for event in events:
                        heard.append((event["type"], event["object"].metadata.name))
                        begun.set()
                        if event["type"] == "DELETED":
                            return

            settings_map = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="settings"), data={"a": "1"})
            made = await core.create_namespaced_config_map("default", settings_map)
            assert made.metadata.uid
            following = asyncio.create_task(follow())
            await asyncio.wait_for(begun.wait(), 20)
            await core.patch_namespaced_config_map("settings", "default", {"data": {"a": "2"}})
            await core.delete_namespaced_config_map("settings", "default")
            await asyncio.wait_for(following, 20)
            assert heard == [("ADDED", "settings"), ("MODIFIED", "settings"), ("DELETED", "settings")]

            container = client.V1Container(name="main", image="local/none")
            pods = client.V1PodSpec(restart_policy="Never", containers=[container])
            spec = client.V1JobSpec(template=client.V1PodTemplateSpec(spec=pods))
            body = client.V1Job(metadata=client.V1ObjectMeta(name="job"), spec=spec)
            assert (await batch.create_namespaced_job("default", body)).spec.backoff_limit == 6
            with pytest.raises(client.ApiException) as refused:
                await batch.create_namespaced_job("default", body)
            assert (refused.value.status, refused.value.reason) == (409, "Conflict")
