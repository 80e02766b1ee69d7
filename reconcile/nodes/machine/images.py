"""The two small images of a node, made from the machine's static busybox: no registry is asked.

``local/pause:1`` holds a Pod's namespaces, ``docker.io/library/busybox:1`` runs. Both share one layer. The archive is
an OCI image layout (image-spec, image-layout.md), which ``ctr images import`` reads; the same input gives the same
bytes, so digests are stable.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Sequence

import attrs

from reconcile.model.json import encode

PAUSE_IMAGE = "local/pause:1"
BUSYBOX_IMAGE = "docker.io/library/busybox:1"

# Process 1 of a sandbox, and of all its containers where they share a PID namespace: it waits for ever, collects
# orphans (``wait`` does) and ends at SIGTERM, which a process 1 without a handler would not hear.
# containerd ends a sandbox with SIGKILL, so a Pod stops no slower than with a pause program in C: StopPodSandbox took
# 50 ms with this script and 55 ms with one that ignores SIGTERM. It needs no compiler and no second architecture.
PAUSE_SCRIPT = 'trap "exit 0" TERM INT; while :; do sleep 2147483647 & wait $!; done'

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""The kernel's names of architectures where Go, and so an image configuration, has another."""


@attrs.frozen
class Blob:
    """Content and its name, which is its digest."""

    media_type: str
    content: bytes = attrs.field(repr=False)

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.content).hexdigest()

    def descriptor(self, **annotations: str) -> dict[str, object]:
        """How other blobs refer to this one."""
        described: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.content),
        }
        if annotations:
            described["annotations"] = annotations
        return described


@attrs.frozen
class Image:
    """A manifest with what it refers to, and the name that a Pod gives."""

    name: str
    manifest: Blob
    config: Blob
    layer: Blob


def layer_of(busybox: bytes, applets: Iterable[str]) -> Blob:
    """A root file system of busybox, a link for each of its applets, and the directories that programs expect."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for directory, mode in {"bin": 0o755, "etc": 0o755, "root": 0o700, "tmp": 0o1777, "var": 0o755}.items():
            _add(archive, directory, kind=tarfile.DIRTYPE, mode=mode)
        _add(archive, "bin/busybox", content=busybox, mode=0o755)
        for applet in sorted(set(applets) - {"busybox"}):
            _add(archive, f"bin/{applet}", kind=tarfile.SYMTYPE, link="busybox")
        _add(
            archive, "etc/passwd", content=b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
        )
        _add(archive, "etc/group", content=b"root:x:0:\nnogroup:x:65534:\n")
    return Blob(LAYER_TYPE, buffer.getvalue())


def image_of(
    name: str, layer: Blob, *, machine: str, entrypoint: Sequence[str] = (), command: Sequence[str] = ()
) -> Image:
    """An image of one layer, for the architecture that the kernel calls ``machine``."""
    config = Blob(
        CONFIG_TYPE,
        encode(
            {
                "architecture": ARCHITECTURES.get(machine, machine),
                "os": "linux",
                "config": {"Env": ["PATH=/bin"], "Entrypoint": list(entrypoint), "Cmd": list(command)},
                # The layer is not compressed, so its digest is also the one of its content.
                "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
            }
        ),
    )
    manifest = Blob(
        MANIFEST_TYPE,
        encode(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": config.descriptor(),
                "layers": [layer.descriptor()],
            }
        ),
    )
    return Image(name, manifest, config, layer)


def archive_of(images: Sequence[Image]) -> bytes:
    """An OCI image layout as a tar, ready for ``ctr images import``."""
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        # The annotation is containerd's: the full name, which the layout itself has no place for.
        "manifests": [
            image.manifest.descriptor(**{"io.containerd.image.name": full_name(image.name)}) for image in images
        ],
    }
    blobs = {blob.digest: blob for image in images for blob in (image.layer, image.config, image.manifest)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        _add(archive, "oci-layout", content=encode({"imageLayoutVersion": "1.0.0"}))
        for digest, blob in blobs.items():
            _add(archive, f"blobs/{digest.replace(':', '/')}", content=blob.content)
        _add(archive, "index.json", content=encode(index))
    return buffer.getvalue()


def full_name(name: str) -> str:
    """A name as the container runtime keeps it: ``local/pause:1`` is ``docker.io/local/pause:1`` to it."""
    return name if "." in name.partition("/")[0] else f"docker.io/{name}"


def node_images(busybox: bytes, applets: Iterable[str]) -> bytes:
    """The archive of a node's two images, for this machine's architecture."""
    layer = layer_of(busybox, applets)
    machine = os.uname().machine
    pause = image_of(PAUSE_IMAGE, layer, machine=machine, entrypoint=["sh", "-c", PAUSE_SCRIPT])
    return archive_of([pause, image_of(BUSYBOX_IMAGE, layer, machine=machine, command=["sh"])])


def _add(
    archive: tarfile.TarFile,
    name: str,
    *,
    content: bytes = b"",
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    link: str = "",
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname, entry.size = kind, mode, link, len(content)
    archive.addfile(entry, io.BytesIO(content))
