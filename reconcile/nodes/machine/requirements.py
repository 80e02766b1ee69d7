"""What a real node needs of this machine, and what of it is missing."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import attrs

from reconcile.errors import ConfigurationError
from reconcile.nodes.machine.process import SYSTEM_PATH

PLUGIN_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
"""Debian's place for CNI plugins, and everybody else's."""

PLUGINS = ("loopback", "ptp", "host-local")
WAY_OUT = "'make system-deps' installs what is missing (Debian and Ubuntu, as root)"

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
"""What a node needs of root's rights, with the kernel's numbers (capability.h): interfaces and mounts."""

STATUS = Path("/proc/self/status")

_ELF_HEADER = struct.Struct("<4s12x16xQ14xHH")
_ELF_64_LITTLE_ENDIAN = b"\x02\x01"
_PT_INTERP = 3


@attrs.frozen
class Programs:
    """Where the machine's programs are."""

    ctr: Path
    containerd: Path
    busybox: Path
    plugin_directory: Path


def _program(name: str) -> Path | None:
    found = shutil.which(name, path=SYSTEM_PATH)
    return Path(found) if found else None


def is_static(binary: Path) -> bool:
    """Whether a Linux program runs without libraries: an ELF file that names no interpreter."""
    with binary.open("rb") as file:
        header = file.read(64)
        if len(header) < 64 or header[:4] != b"\x7fELF" or header[4:6] != _ELF_64_LITTLE_ENDIAN:
            return False
        _, table, entry_size, count = _ELF_HEADER.unpack_from(header)
        file.seek(table)
        entries = file.read(entry_size * count)
    types = [struct.unpack_from("<I", entries, entry_size * index)[0] for index in range(count)]
    return _PT_INTERP not in types


def missing_requirements() -> list[str]:
    """What keeps a real node from running here, each with the way out. Empty when nothing does."""
    missing: list[str] = []
    if (system := os.uname().sysname) != "Linux":
        return [f"real nodes need Linux; this is {system}"]
    if os.geteuid() != 0:
        missing.append("not root: real nodes make namespaces and cgroups; run as root")
    elif absent := [name for name, bit in CAPABILITIES.items() if not _effective_capabilities() >> bit & 1]:
        missing.append(f"root without {' and '.join(absent)}, as in a container: run that one with --privileged")
    missing += [
        f"{name} is not in {SYSTEM_PATH}: {WAY_OUT}"
        for name in ("containerd", "ctr", "containerd-shim-runc-v2", "runc", "ip")
        if _program(name) is None
    ]
    if _plugin_directory() is None:
        places = " or ".join(str(directory) for directory in PLUGIN_DIRECTORIES)
        missing.append(f"the CNI plugins {', '.join(PLUGINS)} are not in {places}: {WAY_OUT}")
    busybox = _program("busybox")
    if busybox is None:
        missing.append(f"busybox is not in {SYSTEM_PATH}: {WAY_OUT}")
    elif not is_static(busybox):
        missing.append(f"{busybox} is not statically linked, so it cannot be made into an image: {WAY_OUT}")
    return missing


def find_programs() -> Programs:
    """The machine's programs. Raises ConfigurationError that lists everything that is missing."""
    missing = missing_requirements()
    ctr, containerd, busybox, plugins = (
        _program("ctr"),
        _program("containerd"),
        _program("busybox"),
        _plugin_directory(),
    )
    if missing or ctr is None or containerd is None or busybox is None or plugins is None:
        raise ConfigurationError("a real node cannot run here: " + "; ".join(missing))
    return Programs(ctr=ctr, containerd=containerd, busybox=busybox, plugin_directory=plugins)


def _effective_capabilities() -> int:
    for line in STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return int(value, 16)
    return 0


def _plugin_directory() -> Path | None:
    for directory in PLUGIN_DIRECTORIES:
        if all(os.access(directory / plugin, os.X_OK) for plugin in PLUGINS):
            return directory
    return None
