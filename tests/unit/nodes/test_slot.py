"""Slots: taken once, freed with the lock, cleaned after a crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconcile.errors import ConfigurationError
from reconcile.nodes.machine import slot as slot_module
from reconcile.nodes.machine.slot import take_slot


@pytest.fixture(autouse=True)
def slots_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(slot_module, "SLOTS_DIRECTORY", tmp_path / "slots")
    monkeypatch.setattr(slot_module, "SLOT_MAX", 2)
    # A predecessor's address is removed for real: it must not be the one of a node that runs beside this test.
    monkeypatch.setattr(slot_module, "NODE_NETWORK", "198.51.100")
    return tmp_path / "slots"


def test_two_nodes_have_different_numbers_addresses_and_subnets(tmp_path: Path):
    """What a slot gives is its holder's alone."""
    first, second = take_slot(tmp_path / "a"), take_slot(tmp_path / "b")
    assert (first.number, second.number) == (1, 2)
    assert first.address != second.address
    assert first.pod_subnet != second.pod_subnet
    first.release()
    second.release()


def test_a_full_machine_is_said_plainly(tmp_path: Path):
    """The error names the bound and the way out."""
    taken = [take_slot(tmp_path / name) for name in "ab"]
    with pytest.raises(ConfigurationError, match=r"all 2 slots .* are taken; stop a node"):
        take_slot(tmp_path / "c")
    for slot in taken:
        slot.release()


def test_a_released_slot_is_free_again(tmp_path: Path):
    """The lowest free number is taken."""
    first, second = take_slot(tmp_path / "a"), take_slot(tmp_path / "b")
    first.release()
    assert take_slot(tmp_path / "c").number == 1
    second.release()


def test_a_slot_is_held_by_whoever_inherited_it(tmp_path: Path):
    """The supervisor keeps the lock after its owner has closed its own end."""
    slot = take_slot(tmp_path / "a")
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=(slot.lock,)
    )
    slot.release()
    assert take_slot(tmp_path / "b").number == 2
    assert child.stdin is not None
    child.stdin.close()
    child.wait()
    assert take_slot(tmp_path / "c").number == 1


def test_what_a_dead_predecessor_left_is_removed(tmp_path: Path):
    """A supervisor that was killed too could not remove its directory: the next holder of the slot does."""
    left = tmp_path / "left"
    (left / "containerd").mkdir(parents=True)
    take_slot(left).release()
    assert left.exists()
    take_slot(tmp_path / "next").release()
    assert not left.exists()


def test_a_slot_that_cannot_be_cleaned_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """With a warning that says what is still there."""
    take_slot(tmp_path / "left").release()
    monkeypatch.setattr(slot_module, "remove_remains", lambda directory, address: [f"{directory}: busy"])
    assert take_slot(tmp_path / "next").number == 2
    assert f"{tmp_path}/left: busy" in caplog.text


def test_a_place_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As for a user who is not root."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(slot_module, "SLOTS_DIRECTORY", tmp_path / "file" / "slots")
    with pytest.raises(ConfigurationError, match=r"cannot make .*/file/slots"):
        take_slot(tmp_path / "a")


def test_the_lock_is_not_inherited_by_accident(tmp_path: Path):
    """A program that the owner starts must not keep the slot."""
    slot = take_slot(tmp_path / "a")
    assert not os.get_inheritable(slot.lock)
    slot.release()
