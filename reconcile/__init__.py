"""Reconcile: an asyncio framework for Kubernetes controllers.

This module is the face: names only, each loaded when it is first used.

    from reconcile import App, Context

    app = App()

    @app.controller("example.com/v1/Widget", owns=["v1/ConfigMap"])
    async def widget(obj: Widget, ctx: Context) -> None:
        await ctx.apply(config_map_for(obj))
        await ctx.patch_status({"ready": True})
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconcile.app import App, DeclaredController
    from reconcile.builder import Builder
    from reconcile.client.api import Client
    from reconcile.client.config import ClusterConfig, load_config
    from reconcile.client.connect import connect
    from reconcile.core.enqueue import mapped
    from reconcile.core.predicate import (
        all_of,
        annotations_changed,
        any_of,
        deleting,
        generation_changed,
        labels_changed,
        not_,
    )
    from reconcile.errors import (
        AlreadyExistsError,
        ApiError,
        ConfigurationError,
        ConflictError,
        DecodeError,
        ExpiredError,
        ForbiddenError,
        InvalidError,
        LeaseLostError,
        NotFoundError,
        ReconcileError,
        TerminalError,
        TooManyRequestsError,
        TransportError,
        UnauthorizedError,
        UnknownKindError,
        UnknownOutcomeError,
        UsageError,
    )
    from reconcile.instrumentation.metric import Counter, Histogram, Measured
    from reconcile.manager import Manager, RunOptions
    from reconcile.model.condition import set_condition
    from reconcile.model.key import ObjectKey
    from reconcile.model.meta import ObjectMeta, OwnerReference
    from reconcile.model.name import child_name
    from reconcile.model.object import Object
    from reconcile.model.owner import controller_of, controller_reference, is_controlled_by
    from reconcile.model.patch import ApplyPatch, JSONPatch, MergePatch, StrategicMergePatch
    from reconcile.model.resource import Kind, Resource
    from reconcile.model.right import Right
    from reconcile.model.selector import LabelSelector
    from reconcile.reconciler import Context, Reconciler, Request, Result
    from reconcile.runtime.finalizer import finalize
    from reconcile.runtime.leader_election import LeaderElectionConfig

_HOMES = {
    "App": "app",
    "DeclaredController": "app",
    "Builder": "builder",
    "Client": "client.api",
    "ClusterConfig": "client.config",
    "load_config": "client.config",
    "connect": "client.connect",
    "mapped": "core.enqueue",
    "all_of": "core.predicate",
    "annotations_changed": "core.predicate",
    "any_of": "core.predicate",
    "deleting": "core.predicate",
    "generation_changed": "core.predicate",
    "labels_changed": "core.predicate",
    "not_": "core.predicate",
    "AlreadyExistsError": "errors",
    "ApiError": "errors",
    "ConfigurationError": "errors",
    "ConflictError": "errors",
    "DecodeError": "errors",
    "ExpiredError": "errors",
    "ForbiddenError": "errors",
    "InvalidError": "errors",
    "LeaseLostError": "errors",
    "NotFoundError": "errors",
    "ReconcileError": "errors",
    "TerminalError": "errors",
    "TooManyRequestsError": "errors",
    "TransportError": "errors",
    "UnauthorizedError": "errors",
    "UnknownKindError": "errors",
    "UnknownOutcomeError": "errors",
    "UsageError": "errors",
    "Counter": "instrumentation.metric",
    "Histogram": "instrumentation.metric",
    "Measured": "instrumentation.metric",
    "Manager": "manager",
    "RunOptions": "manager",
    "set_condition": "model.condition",
    "ObjectKey": "model.key",
    "ObjectMeta": "model.meta",
    "OwnerReference": "model.meta",
    "child_name": "model.name",
    "Object": "model.object",
    "controller_of": "model.owner",
    "controller_reference": "model.owner",
    "is_controlled_by": "model.owner",
    "ApplyPatch": "model.patch",
    "JSONPatch": "model.patch",
    "MergePatch": "model.patch",
    "StrategicMergePatch": "model.patch",
    "Kind": "model.resource",
    "Resource": "model.resource",
    "Right": "model.right",
    "LabelSelector": "model.selector",
    "Context": "reconciler",
    "Reconciler": "reconciler",
    "Request": "reconciler",
    "Result": "reconciler",
    "finalize": "runtime.finalizer",
    "LeaderElectionConfig": "runtime.leader_election",
}

__all__ = [
    "AlreadyExistsError",
    "ApiError",
    "App",
    "ApplyPatch",
    "Builder",
    "Client",
    "ClusterConfig",
    "ConfigurationError",
    "ConflictError",
    "Context",
    "Counter",
    "DeclaredController",
    "DecodeError",
    "ExpiredError",
    "ForbiddenError",
    "Histogram",
    "InvalidError",
    "JSONPatch",
    "Kind",
    "LabelSelector",
    "LeaderElectionConfig",
    "LeaseLostError",
    "Manager",
    "Measured",
    "MergePatch",
    "NotFoundError",
    "Object",
    "ObjectKey",
    "ObjectMeta",
    "OwnerReference",
    "ReconcileError",
    "Reconciler",
    "Request",
    "Resource",
    "Result",
    "Right",
    "RunOptions",
    "StrategicMergePatch",
    "TerminalError",
    "TooManyRequestsError",
    "TransportError",
    "UnauthorizedError",
    "UnknownKindError",
    "UnknownOutcomeError",
    "UsageError",
    "all_of",
    "annotations_changed",
    "any_of",
    "child_name",
    "connect",
    "controller_of",
    "controller_reference",
    "deleting",
    "finalize",
    "generation_changed",
    "is_controlled_by",
    "labels_changed",
    "load_config",
    "mapped",
    "not_",
    "set_condition",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'reconcile' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"reconcile.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
