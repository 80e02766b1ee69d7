"""Where Kubernetes' own kinds are served, for what has no server to ask.

All of them have a plural that follows from the kind, and few live outside namespaces. A test compares this with what
the pinned release serves, alpha kinds included. For every other kind the server must be asked (``Client.resource``).
"""

from __future__ import annotations

from typing import Final

from reconcile.model.resource import Kind, Resource

GROUPS: Final = frozenset(
    {
        "",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "apps",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "internal.apiserver.k8s.io",
        "lifecycle.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
        "storagemigration.k8s.io",
    }
)
"""The groups that kube-apiserver serves itself."""

CLUSTER_SCOPED: Final = frozenset(
    {
        "APIService",
        "CSIDriver",
        "CSINode",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "ClusterTrustBundle",
        "ComponentStatus",
        "CustomResourceDefinition",
        "DeviceClass",
        "DeviceTaintRule",
        "FlowSchema",
        "IPAddress",
        "IngressClass",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "ResourcePoolStatusRequest",
        "ResourceSlice",
        "RuntimeClass",
        "SelfSubjectAccessReview",
        "SelfSubjectReview",
        "SelfSubjectRulesReview",
        "ServiceCIDR",
        "StorageClass",
        "StorageVersion",
        "StorageVersionMigration",
        "SubjectAccessReview",
        "TokenReview",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
        "VolumeAttributesClass",
    }
)
"""Kinds of these groups that live outside namespaces; none of the same name in another of them lives inside."""


def built_in(kind: Kind) -> Resource | None:
    """Where ``kind`` is served, if it is one of Kubernetes' own; None for any other."""
    if kind.group not in GROUPS:
        return None
    return Resource(kind, _plural(kind.kind.lower()), kind.kind not in CLUSTER_SCOPED)


def _plural(word: str) -> str:
    if word.endswith("s"):
        return word if word == "endpoints" else f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
