"""App: a program's controllers, and the three ways to run them.

``app.run()`` from ``main``; ``async with app.running():`` inside somebody's loop; ``reconcile run package.module:app``.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import logging
import os
import signal
import types
import typing
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Generic, NoReturn, TypeVar

import anyio
import attrs

from reconcile.builder import Builder
from reconcile.client.api import Client
from reconcile.client.config import load_config
from reconcile.client.connect import connect
from reconcile.core.predicate import Predicate
from reconcile.errors import DecodeError, TerminalError, UsageError
from reconcile.instrumentation.hooks import Hook, Hooks
from reconcile.instrumentation.log_hook import LogHook
from reconcile.instrumentation.metric import Metric
from reconcile.manager import Manager, RunOptions
from reconcile.model.object import Object
from reconcile.model.resource import Kind
from reconcile.model.right import Right, merged
from reconcile.model.selector import LabelSelector
from reconcile.reconciler import Context, Request, Returned
from reconcile.runtime.clock import SYSTEM_CLOCK, Clock
from reconcile.runtime.declaration import Declaration

T = TypeVar("T")

_log = logging.getLogger("reconcile.app")

EXIT_SECONDS = 8.0
"""What a stop takes at most after the reconciles are drained (Events 5 s, lease, connections). With the default drain
it ends before kubelet's 30 s are over."""

Function = Callable[[T, Context], Awaitable[Returned]]
"""What the decorator takes: ``async def f(obj, ctx)``; ``obj`` is decoded as the class that it is annotated with."""


@attrs.frozen
class DeclaredController(Generic[T]):
    """What the decorator gives: the declaration, and still the function, to be called in unit tests."""

    declaration: Declaration
    function: Function[T]

    def __call__(self, obj: T, context: Context, /) -> Awaitable[Returned]:
        return self.function(obj, context)


@attrs.frozen
class _FunctionReconciler(Generic[T]):
    """Adapts ``f(obj, ctx)`` to the contract ``(Request, Context)``."""

    kind: Kind
    selector: LabelSelector
    function: Function[Any]
    decode_as: type[Any]
    wants_missing: bool

    async def __call__(self, request: Request, context: Context, /) -> Returned:
        obj = context.get(self.kind, request.name)
        if obj is None or not self.selector.matches(obj.labels):  # another watch of the kind may hold it all the same
            return await self.function(None, context) if self.wants_missing else None
        try:
            value = obj.to_dict() if self.decode_as is dict else obj.decode(self.decode_as)
        except DecodeError as error:
            context.event("InvalidObject", str(error), type="Warning")
            raise TerminalError(str(error)) from error
        return await self.function(value, context)


class App:
    """Controllers that run together: one client, one cache, one lease.

    Args:
        name: in logs, who its Events are from, and the default name of the lease.
        arguments: adds the program's own flags to ``reconcile run NAME``.
        setup: registers controllers once the flags are known; called once, before the start.
    """

    def __init__(
        self,
        name: str = "reconcile",
        *,
        arguments: Callable[[argparse.ArgumentParser], None] | None = None,
        setup: Callable[[App, argparse.Namespace], None] | None = None,
    ) -> None:
        self.name = name
        self.hooks = Hooks()
        self._arguments = arguments
        self._setup = setup
        self._declarations: list[Declaration] = []

    def __repr__(self) -> str:
        return f"<App {self.name}: {', '.join(one.name for one in self._declarations) or 'no controllers yet'}>"

    @property
    def controllers(self) -> Sequence[Declaration]:
        """What has been declared so far."""
        return tuple(self._declarations)

    @property
    def rights(self) -> Sequence[Right]:
        """What the controllers declared so far ask of the server: what they watch, their ``needs``, and Events."""
        asked = [Right("v1/Event", ["create", "patch"])]
        for one in self._declarations:
            asked.extend(Right(watch.kind, ["list", "watch"]) for watch in one.watches)
            asked.extend(one.needs)
        return merged(asked)

    def builder(self, kind: str | Kind, *, name: str = "", **watch: Any) -> Builder:
        """``Builder.for_``: the long form of the decorator."""
        return Builder.for_(kind, name=name, **watch)

    def add(self, declaration: Declaration) -> None:
        """Run this controller too. Raises UsageError for a second one, or a second metric, of the same name."""
        if any(one.name == declaration.name for one in self._declarations):
            raise UsageError(f"app {self.name!r} has a controller {declaration.name!r} already; pass name=")
        known = {metric.name.removesuffix("_total"): metric for one in self._declarations for metric in one.metrics}
        for metric in declaration.metrics:
            if known.setdefault(metric.name.removesuffix("_total"), metric) is not metric:
                raise UsageError(
                    f"controller {declaration.name!r}: app {self.name!r} has a metric {metric.name} already; share the "
                    f"declaration, or rename one"
                )
        self._declarations.append(attrs.evolve(declaration, component=declaration.component or self.name))

    def hook(self, hook: Hook) -> Hook:
        """Hear the facts of this app (``reconcile.instrumentation.hooks``)."""
        self.hooks.add(hook)
        return hook

    def controller(
        self,
        kind: str | Kind,
        *,
        owns: Sequence[str | Kind] = (),
        name: str = "",
        labels: str = "",
        where: Predicate | None = None,
        metrics: Sequence[Metric] = (),
        needs: Sequence[Right] = (),
        **options: Any,
    ) -> Callable[[Function[T]], DeclaredController[T]]:
        """Declare ``async def f(obj, ctx)`` as the controller of ``kind``.

        The first parameter's annotation says how the object is decoded: ``dict``, ``Object`` (also if there is none),
        a Struct, an attrs class or a dataclass. ``X | None`` asks to be called for missing objects too.

        Args:
            kind: what is reconciled, such as ``example.com/v1/Widget``.
            owns: kinds whose changes wake the object that controls them.
            name: in logs, metrics and as field manager; the function's name if empty.
            labels: selector that narrows what is watched, on the server.
            where: changes for which it is false wake nothing.
            metrics: its own, to which it reports with ``Context.report``.
            needs: what it asks of the server besides listing and watching, for ``reconcile rbac``.
            options: the fields of ``Options``.

        Raises:
            UsageError: a malformed kind, selector, option or annotation.
        """

        def declare(function: Function[T]) -> DeclaredController[T]:
            chosen = name or getattr(function, "__name__", "").replace("_", "-").strip("-")
            builder = Builder.for_(kind, name=chosen, labels=labels)
            for child in owns:
                builder = builder.owns(child)
            if where is not None:
                builder = builder.where(where)
            decode_as, wants_missing = _object_type(function)
            reconciler = _FunctionReconciler[T](
                builder.kind, LabelSelector.parse(labels), function, decode_as, wants_missing
            )
            declaration = builder.metrics(*metrics).needs(*needs).options(**options).build(reconciler)
            self.add(declaration)
            return DeclaredController(declaration, function)

        return declare

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the program's own flags, if it has any."""
        if self._arguments is not None:
            self._arguments(parser)

    def configure(self, options: argparse.Namespace) -> None:
        """Register what depends on flags. Called once, with what ``add_arguments`` declared."""
        if self._setup is not None:
            setup, self._setup = self._setup, None
            setup(self, options)

    def _prepare(self) -> None:
        """Configure with the flags' defaults, where nobody parsed a command line."""
        if self._setup is not None:
            parser = argparse.ArgumentParser()
            self.add_arguments(parser)
            self.configure(parser.parse_args([]))
        if not self._declarations:
            raise UsageError(f"app {self.name!r} has no controllers: declare one with @app.controller(…) or app.add(…)")

    @contextlib.asynccontextmanager
    async def _manager(
        self, client: Client | None, options: RunOptions | None, clock: Clock
    ) -> AsyncGenerator[Manager, None]:
        options = options or RunOptions()
        self._prepare()
        hooks = Hooks()  # of this run: what is told goes into the log, however the app is run, and to the app's own
        hooks.add(LogHook(clock.monotonic))
        hooks.add(self.hooks.emit)
        async with contextlib.AsyncExitStack() as stack:
            election_client = None
            if client is None:
                config = load_config(options.kubeconfig, context=options.context)
                client = await stack.enter_async_context(connect(config, hooks=hooks))
                if options.leader_election is not None:
                    election_client = await stack.enter_async_context(connect(config, hooks=hooks))
            yield Manager(
                self.name,
                client,
                self.controllers,
                options,
                hooks=hooks,
                clock=clock,
                election_client=election_client,
            )

    @contextlib.asynccontextmanager
    async def running(
        self, *, client: Client | None = None, options: RunOptions | None = None, clock: Clock = SYSTEM_CLOCK
    ) -> AsyncGenerator[Manager, None]:
        """Run inside an existing loop; the body runs once caches are synced and workers are started (or stand by).

        Leaving the body stops everything within ``options.drain_seconds``; where the task that runs the body is
        cancelled instead, everything is cancelled at once, and the lease runs out by itself. A failure of the manager
        cancels the body and is raised. Without ``client``, one is made from ``options.kubeconfig``, and closed at the
        end.
        """
        async with self._manager(client, options, clock) as manager:
            failures: list[Exception] = []
            async with anyio.create_task_group() as group:

                async def run() -> None:
                    try:
                        await manager.run()
                    except Exception as error:  # noqa: BLE001  raised below, bare instead of in a group
                        failures.append(error)
                        group.cancel_scope.cancel()

                group.start_soon(run)
                try:
                    await manager.wait_started()
                    if not failures:
                        yield manager
                except Exception as error:  # noqa: BLE001  the body's, raised below, bare instead of in a group
                    failures.append(error)
                finally:
                    manager.stop()
            if failures:
                raise failures[0]

    async def run_async(
        self, *, client: Client | None = None, options: RunOptions | None = None, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """Run until SIGTERM or SIGINT; then stop within ``options.drain_seconds``. Raises what else stopped it.

        A reconcile that cannot be cancelled, or a second signal, ends the process with status 1: the one holds the stop
        up for ever, and the other is of somebody who does not want to wait.
        """
        options = options or RunOptions()
        async with self._manager(client, options, clock) as manager:
            failure: Exception | None = None
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async with anyio.create_task_group() as group:

                    async def give_up() -> None:
                        seconds = options.drain_seconds + EXIT_SECONDS
                        await clock.sleep(seconds)
                        _exit(f"not stopped in {seconds:g} s, as after a reconcile that cannot be cancelled")

                    async def stop_on_signal() -> None:
                        await anext(signals)
                        manager.stop()
                        group.start_soon(give_up)
                        await anext(signals)
                        _exit("second signal")

                    group.start_soon(stop_on_signal)
                    try:
                        await manager.run()
                    except Exception as error:  # noqa: BLE001  raised below, bare instead of in a group
                        failure = error
                    group.cancel_scope.cancel()
            if failure is not None:
                raise failure

    def run(self, *, options: RunOptions | None = None) -> None:
        """Run in a loop of its own until SIGTERM or SIGINT. Uses uvloop where it is installed."""
        run_in_loop(lambda: self.run_async(options=options))


def _exit(why: str) -> NoReturn:
    _log.critical("%s: exit at once", why)
    os._exit(1)  # the orderly ways out wait for every task and thread


def run_in_loop(main: Callable[[], Awaitable[None]]) -> None:
    """Run ``main`` in a fresh asyncio loop, on uvloop where that is installed."""

    async def call() -> None:
        await main()

    try:
        import uvloop  # noqa: F401, PLC0415  an optional extra
    except ImportError:
        anyio.run(call, backend="asyncio")
    else:
        anyio.run(call, backend="asyncio", backend_options={"use_uvloop": True})


def _object_type(function: Callable[..., Any]) -> tuple[type[Any], bool]:
    """How the first parameter wants its object, and whether it takes None."""
    label = getattr(function, "__qualname__", repr(function))
    plain = inspect.unwrap(function)
    if not inspect.isroutine(plain) or not inspect.iscoroutinefunction(plain):
        raise UsageError(f"{label}: want 'async def f(obj, ctx)'")
    signature = inspect.signature(plain)
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise UsageError(f"{label}{signature}: want 'async def f(obj, ctx)': {error}") from error
    first = next(iter(signature.parameters))
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise UsageError(
            f"{label}: the annotation of {first!r} cannot be resolved ({error}); define the class at "
            f"module level, before the function"
        ) from error
    hint = hints.get(first, Object)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        if len(members) != 1 or len(members) == len(typing.get_args(hint)):
            raise UsageError(f"{label}: {first!r} is annotated {hint}; want a class, or class | None")
        return _plain_type(members[0]), True
    return _plain_type(hint), False


def _plain_type(hint: Any) -> type[Any]:
    if hint is Any:
        return Object
    origin = typing.get_origin(hint)
    return dict if origin is dict else hint
