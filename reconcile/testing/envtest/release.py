"""The Kubernetes releases whose programs can be built here: one Go module each, with every version and hash pinned."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import attrs

from reconcile.testing.envtest.errors import BinariesUnavailableError

__all__ = ["DEFAULT_RELEASE", "PROGRAMS", "Release", "release"]

DEFAULT_RELEASE = "1.37.2"

_MODULES = Path(__file__).parent / "modules"
_KUBERNETES = "k8s.io/kubernetes/cmd/"

PROGRAMS = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": f"{_KUBERNETES}kube-apiserver",
    "kube-controller-manager": f"{_KUBERNETES}kube-controller-manager",
    "kube-scheduler": f"{_KUBERNETES}kube-scheduler",
    "kubectl": f"{_KUBERNETES}kubectl",
    "kubelet": f"{_KUBERNETES}kubelet",
}
"""Each program and the Go package that it is built from."""


@attrs.frozen
class Release:
    """One release.

    Attributes:
        version: such as ``1.37.2``.
        module: the directory with its ``go.mod`` and ``go.sum``.
    """

    version: str
    module: Path

    @property
    def go_version(self) -> tuple[int, ...]:
        """The oldest Go that can build it."""
        found = re.search(r"^go (\d+(?:\.\d+)*)$", (self.module / "go.mod").read_text(), re.MULTILINE)
        if found is None:
            raise BinariesUnavailableError(f"{self.module / 'go.mod'} does not say which Go it needs")
        return tuple(int(part) for part in found.group(1).split("."))

    @property
    def cache_name(self) -> str:
        """Names what is built from exactly these sources."""
        digest = hashlib.sha256()
        for name in ("go.mod", "go.sum"):
            digest.update((self.module / name).read_bytes())
        return f"{self.version}-{digest.hexdigest()[:12]}"

    @property
    def linker_flags(self) -> str:
        """Without a version stamped in, the server calls itself v0.0.0-master and clients misread it."""
        major, minor, _ = self.version.split(".")
        stamp = {"gitVersion": f"v{self.version}", "gitMajor": major, "gitMinor": minor}
        return "-s -w " + " ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamp.items())


def release(version: str | None) -> Release:
    """The release of that version; None is the default.

    Raises:
        BinariesUnavailableError: there is no module for it.
    """
    version = (version or DEFAULT_RELEASE).removeprefix("v")
    known = sorted(path.name for path in _MODULES.iterdir())
    if version not in known:
        raise BinariesUnavailableError(
            f"Kubernetes {version} cannot be built here, only {', '.join(known)}; "
            "for another one set KUBEBUILDER_ASSETS to a directory with its programs"
        )
    return Release(version, _MODULES / version)
