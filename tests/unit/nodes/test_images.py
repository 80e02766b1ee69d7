"""The two images of a node, read back as a container runtime reads them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest

from reconcile.nodes.machine.images import (
    BUSYBOX_IMAGE,
    PAUSE_IMAGE,
    archive_of,
    full_name,
    image_of,
    layer_of,
    node_images,
)

BUSYBOX = b"\x7fELF pretend"


def unpack(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        return {name: file.read() for name, file in members.items() if file is not None}


def blob(files: dict[str, bytes], descriptor: dict[str, object]) -> bytes:
    """The blob that a descriptor names, after the checks that a runtime makes."""
    algorithm, _, value = str(descriptor["digest"]).partition(":")
    content = files[f"blobs/{algorithm}/{value}"]
    assert hashlib.sha256(content).hexdigest() == value
    assert len(content) == descriptor["size"]
    return content


def test_every_blob_is_found_under_its_digest_from_the_index_down():
    """Index, manifests, configurations and layers refer to each other by digest and size, and all are there."""
    files = unpack(node_images(BUSYBOX, ["sh", "sleep"]))
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files["index.json"])
    assert index["schemaVersion"] == 2
    names = []
    for described in index["manifests"]:
        names.append(described["annotations"]["io.containerd.image.name"])
        manifest = json.loads(blob(files, described))
        assert manifest["schemaVersion"] == 2
        assert manifest["mediaType"] == described["mediaType"]
        config = json.loads(blob(files, manifest["config"]))
        [layer] = manifest["layers"]
        assert config["rootfs"] == {"type": "layers", "diff_ids": [layer["digest"]]}
        assert config["os"] == "linux"
        blob(files, layer)
    assert names == ["docker.io/local/pause:1", "docker.io/library/busybox:1"]


def test_both_images_share_one_layer():
    """The archive holds busybox once."""
    files = unpack(node_images(BUSYBOX, ["sh"]))
    assert sum(content.count(BUSYBOX) for content in files.values()) == 1
    assert sum(name.startswith("blobs/") for name in files) == 5


def test_the_same_input_gives_the_same_bytes():
    """No time of day and no order of a set gets into an image, so its digest is stable."""
    assert node_images(BUSYBOX, ["sh", "ls", "cat"]) == node_images(BUSYBOX, ["cat", "sh", "ls"])


def test_the_layer_is_a_root_file_system():
    """The program is executable, its applets are links to it, /tmp is everybody's, root has a name."""
    with tarfile.open(fileobj=io.BytesIO(layer_of(BUSYBOX, ["sh", "busybox"]).content)) as tar:
        members = {member.name: member for member in tar}
        assert members["bin/busybox"].mode == 0o755
        assert members["bin/busybox"].isfile()
        assert (members["bin/sh"].issym(), members["bin/sh"].linkname) == (True, "busybox")
        assert members["tmp"].mode == 0o1777
        passwd = tar.extractfile("etc/passwd")
        assert passwd is not None
        assert passwd.read().startswith(b"root:x:0:0:")
        assert {member.mtime for member in members.values()} == {0}


@pytest.mark.parametrize(
    ("machine", "architecture"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64")]
)
def test_an_image_names_the_architecture_as_go_does(machine: str, architecture: str):
    """The kernel says x86_64 where an image says amd64; where both agree the name stands."""
    image = image_of("local/x:1", layer_of(BUSYBOX, []), machine=machine)
    assert json.loads(image.config.content)["architecture"] == architecture


def test_entrypoint_and_command_are_those_given():
    """What the container runs when its Pod says nothing."""
    image = image_of("local/x:1", layer_of(BUSYBOX, []), machine="x86_64", entrypoint=["sh", "-c"], command=["true"])
    config = json.loads(image.config.content)["config"]
    assert (config["Entrypoint"], config["Cmd"]) == (["sh", "-c"], ["true"])
    assert image.manifest.digest in archive_of([image]).decode("latin-1")


@pytest.mark.parametrize(
    ("name", "full"),
    [
        (PAUSE_IMAGE, "docker.io/local/pause:1"),
        (BUSYBOX_IMAGE, "docker.io/library/busybox:1"),
        ("example.com/a/b:2", "example.com/a/b:2"),
    ],
)
def test_a_name_without_a_registry_is_one_of_docker_io(name: str, full: str):
    """containerd keeps names in full, and a kubelet asks for them in full."""
    assert full_name(name) == full
