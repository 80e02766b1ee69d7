"""What is missing for a real node is said exactly, with the way out."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from reconcile.errors import ConfigurationError
from reconcile.nodes import missing_requirements
from reconcile.nodes.machine import requirements
from reconcile.nodes.machine.requirements import find_programs, is_static

PROGRAMS = ("containerd", "ctr", "containerd-shim-runc-v2", "runc", "ip", "busybox")


def elf(*segment_types: int, identity: bytes = b"\x02\x01") -> bytes:
    """A 64-bit little-endian ELF file that consists of its headers (System V ABI, chapter 4)."""
    table = b"".join(struct.pack("<I52x", segment_type) for segment_type in segment_types)
    ident = b"\x7fELF" + identity + bytes(10)
    return ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, len(segment_types), 0, 0, 0) + table


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has everything, in a directory."""
    programs, plugins = tmp_path / "bin", tmp_path / "cni"
    for directory, names in ((programs, PROGRAMS), (plugins, ("loopback", "ptp", "host-local"))):
        directory.mkdir()
        for name in names:
            (directory / name).write_bytes(elf(1))
            (directory / name).chmod(0o755)
    monkeypatch.setattr(requirements, "SYSTEM_PATH", str(programs))
    monkeypatch.setattr(requirements, "PLUGIN_DIRECTORIES", (tmp_path / "nowhere", plugins))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "status").write_text("Name:\tpython\nCapPrm:\t0\nCapEff:\t000001ffffffffff\n")
    monkeypatch.setattr(requirements, "STATUS", tmp_path / "status")
    return tmp_path


def test_nothing_is_missing_where_everything_is(machine: Path):
    """And the programs are those of the machine, the second place for plugins included."""
    assert missing_requirements() == []
    programs = find_programs()
    assert programs.containerd == machine / "bin" / "containerd"
    assert programs.plugin_directory == machine / "cni"


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_missing_program_is_named_with_the_way_out(machine: Path, name: str):
    """One line for one program."""
    (machine / "bin" / name).unlink()
    [line] = missing_requirements()
    assert line.startswith(f"{name} is not in ")
    assert "make system-deps" in line


def test_missing_plugins_are_named_with_both_places(machine: Path):
    """Debian has them elsewhere than everybody else."""
    (machine / "cni" / "ptp").unlink()
    [line] = missing_requirements()
    assert "loopback, ptp, host-local" in line
    assert f"{machine}/nowhere or {machine}/cni" in line


def test_a_busybox_that_needs_libraries_is_refused(machine: Path):
    """In an image it would not start."""
    (machine / "bin" / "busybox").write_bytes(elf(6, 3, 1))
    [line] = missing_requirements()
    assert "not statically linked" in line


def test_whoever_is_not_root_is_told_so(machine: Path, monkeypatch: pytest.MonkeyPatch):
    """Beside everything else that is missing."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (machine / "bin" / "runc").unlink()
    root, runc = missing_requirements()
    assert root.startswith("not root")
    assert runc.startswith("runc ")
    with pytest.raises(ConfigurationError, match=r"not root.*; runc is not in"):
        find_programs()


def test_another_system_is_told_that_and_no_more(machine: Path, monkeypatch: pytest.MonkeyPatch):
    """There is nothing to install that would help."""
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Darwin", "mac", "1", "1", "arm64")))
    (machine / "bin" / "runc").unlink()
    assert missing_requirements() == ["real nodes need Linux; this is Darwin"]


def test_root_of_a_container_that_may_not_mount_is_told_so(machine: Path):
    """Docker's default set of capabilities: root by name."""
    (machine / "status").write_text("CapEff:\t00000000a80425fb\n")
    [line] = missing_requirements()
    assert line.startswith("root without CAP_NET_ADMIN and CAP_SYS_ADMIN")
    assert "--privileged" in line


@pytest.mark.parametrize(
    ("content", "static"),
    [
        pytest.param(elf(1, 2), True, id="no interpreter"),
        pytest.param(elf(1, 3), False, id="with an interpreter"),
        pytest.param(elf(1, identity=b"\x01\x01"), False, id="32 bit"),
        pytest.param(b"#!/bin/sh\n" + bytes(80), False, id="a script"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_only_an_elf_file_without_an_interpreter_is_static(tmp_path: Path, content: bytes, static: bool):
    """A script or a file of another format is not what goes into an image."""
    (tmp_path / "program").write_bytes(content)
    assert is_static(tmp_path / "program") is static
