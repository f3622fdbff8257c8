"""The catalog's part of an app: registering, changing, removing and reading steps."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from argyll_redis.core.catalog import (
    Catalog,
    CatalogEvent,
    Registered,
    StepRegistered,
    StepUnregistered,
    StepUpdated,
    register,
    unregister,
)
from argyll_redis.core.explain_work import listed
from argyll_redis.core.model import JSON, StepId
from argyll_redis.core.parse import with_defaults
from argyll_redis.core.reader import did_you_mean
from argyll_redis.core.step_json import step_to_json
from argyll_redis.core.values import shown
from argyll_redis.declare import Declared
from argyll_redis.errors import UnknownStep
from argyll_redis.store.codec import decode
from argyll_redis.views import rfc3339

if TYPE_CHECKING:
    from argyll_redis.app import AppConfig
    from argyll_redis.runtime.node import Node

log = logging.getLogger(__name__)

APP_LABEL = "argyll.app"
"""Label of steps that an app has declared: the module they are declared in. Other apps of the
namespace leave them alone."""
VERSION_LABEL = "argyll.version"


class CatalogApi:
    """Steps of a namespace; mixed into `Argyll`."""

    if TYPE_CHECKING:
        config: AppConfig

        async def node(self) -> Node: ...

        def by(self, origin: str) -> str: ...

    async def register_steps(self, definitions: Sequence[JSON], *, update: bool = False) -> list[JSON]:
        """Registers definitions as one transaction, checked as a set; gives the steps with defaults
        filled in. Equal ones change nothing; different ones raise `StepConflict` without `update`.

        Raises `InvalidStep` or `InvalidCatalog` with all that is wrong.
        """
        node = await self.node()

        def decide(catalog: Catalog) -> Sequence[CatalogEvent]:
            return register(catalog, definitions, update=update, compile_script=node.evaluator.compile)

        return await self._change(node, definitions, decide)

    async def update_steps(self, definitions: Sequence[JSON]) -> list[JSON]:
        """Replaces the definitions of steps that are registered, as one transaction; gives the steps
        with defaults filled in. Equal ones change nothing.

        Raises `UnknownStep` when one of them is not registered, else what `register_steps` raises.
        """
        node = await self.node()

        def decide(catalog: Catalog) -> Sequence[CatalogEvent]:
            events = register(catalog, definitions, update=True, compile_script=node.evaluator.compile)
            new = [each.registered.step.id for each in events if isinstance(each, StepRegistered)]
            if new:
                mend = did_you_mean(new[0], catalog.steps) or "register it first"
                raise UnknownStep(f"no step {listed(new)} is registered ({mend})")
            return events

        return await self._change(node, definitions, decide)

    async def _change(
        self, node: Node, definitions: Sequence[JSON], decide: Callable[[Catalog], Sequence[CatalogEvent]]
    ) -> list[JSON]:
        await node.catalog.change(self.by("operator"), decide)
        await _add_queues(node, definitions)
        return [self._shown(node.catalog.catalog, definition["id"]) for definition in definitions]

    async def register_app(
        self, declared: Mapping[str, Declared], *, mode: str, app_version: int | None
    ) -> None:
        """Registers what an app declares: unknown steps are added, changed ones updated (`strict`
        refuses), equal ones touched not at all; those it no longer declares are warned about
        (`sync` removes them). Steps of a later version of the app are left as they are.

        Raises `InvalidCatalog`, `StepConflict`.
        """
        node = await self.node()
        marked = [_mark(each, app_version) for each in declared.values()]
        gone: list[StepId] = []

        def decide(catalog: Catalog) -> Sequence[CatalogEvent]:
            own = [each for each in marked if _is_to_register(catalog, each, mode, app_version)]
            events = register(catalog, own, update=mode != "strict", compile_script=node.evaluator.compile)
            gone[:] = _no_longer_declared(catalog, marked, app_version)
            return [*events, *unregister(catalog, gone)] if mode == "sync" else events

        for event in await node.catalog.change(self.by("start"), decide):
            if isinstance(event, StepUpdated):
                log.info("step %s was updated", event.registered.step.id)
            elif isinstance(event, StepUnregistered):
                log.info("step %s was removed", event.id)
        if gone and mode != "sync":
            log.warning("steps that this app once registered and no longer declares: %s", ", ".join(gone))
        await _add_queues(node, marked)

    async def unregister_step(self, id: str) -> None:
        """Removes a step. Running flows keep its definition. Raises `UnknownStep`."""
        node = await self.node()
        await node.catalog.change(self.by("operator"), lambda catalog: unregister(catalog, [id.lower()]))

    async def steps(self) -> list[JSON]:
        """All registered steps in id order, defaults filled in."""
        catalog = await (await self.node()).catalog.refresh()
        return [self._shown(catalog, id) for id in sorted(catalog.steps)]

    async def get_step(self, id: str) -> JSON:
        """One registered step, defaults filled in. Raises `UnknownStep`."""
        return self._shown(await (await self.node()).catalog.refresh(), id)

    async def catalog_state(self) -> dict[str, JSON]:
        """The catalog at its newest version: `{steps, version, last_updated}`, steps by id with defaults
        filled in. A catalog that never changed has no `last_updated`."""
        catalog = await (await self.node()).catalog.refresh()
        state: dict[str, JSON] = {
            "steps": {id: self._shown(catalog, id) for id in sorted(catalog.steps)},
            "version": catalog.version,
        }
        if catalog.last_updated_at:
            state["last_updated"] = rfc3339(catalog.last_updated_at)
        return state

    async def catalog_events(self, *, after: int = 0) -> list[dict[str, JSON]]:
        """The catalog's events after a version, each `{id, type, at, cause, by, data}`."""
        node = await self.node()
        return [
            {
                "id": f"{event.version}-0",
                "type": event.type,
                "at": event.at,
                "cause": event.cause,
                "by": event.by,
                "data": decode(event.data),
            }
            for event in await node.store.catalog(after)
        ]

    def _shown(self, catalog: Catalog, id: str) -> JSON:
        registered = catalog.steps.get(StepId(id)) or catalog.steps.get(StepId(id.lower()))
        if registered is None:
            mend = did_you_mean(id, catalog.steps)
            raise UnknownStep(f'no step "{shown(id)}" is registered' + (f" ({mend})" if mend else ""))
        return step_to_json(with_defaults(registered.step, self.config.retry))


async def _add_queues(node: Node, definitions: Sequence[JSON]) -> None:
    """Makes the streams of the queues that steps name, so that no work is released into nothing."""
    queues = {
        (definition.get("python") or {}).get("queue", "default")
        for definition in definitions
        if definition.get("type") == "python"
    }
    await node.store.add_queues(sorted(queues | {"builtin"}))


def _mark(declared: Declared, app_version: int | None) -> dict[str, Any]:
    """A definition with where it was declared, and by which version."""
    labels = {**declared.definition.get("labels", {}), APP_LABEL: _module_of(declared.function)}
    if app_version is not None:
        labels[VERSION_LABEL] = str(app_version)
    return {**declared.definition, "labels": labels}


def _module_of(function: Callable[..., Any]) -> str:
    """The module that a function was declared in; that of a script is what others import it as."""
    while isinstance(function, functools.partial):
        function = function.func
    name = function.__module__
    if name != "__main__":
        return name
    main = sys.modules[name]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return spec.name if spec else Path(file).stem if file else name


def _is_to_register(
    catalog: Catalog, definition: Mapping[str, Any], mode: str, app_version: int | None
) -> bool:
    """Whether a step is unknown, or known otherwise; that of a later version is left as it is."""
    known = catalog.steps.get(StepId(definition["id"]))
    if known is None:
        return True
    if _is_later(known, app_version):
        return False
    is_moved = known.step.labels.get(APP_LABEL) != definition["labels"][APP_LABEL]
    return _unmarked(known.definition) != _unmarked(definition) or (is_moved and mode != "strict")


def _unmarked(definition: Mapping[str, Any]) -> dict[str, Any]:
    """A definition without what `_mark` adds: a new version alone changes no step."""
    labels = definition.get("labels", {}).items()
    own = {key: value for key, value in labels if key not in (APP_LABEL, VERSION_LABEL)}
    return {**definition, "labels": own}


def _is_later(known: Registered, app_version: int | None) -> bool:
    """Whether a later version of the app has registered a step; an app without a version yields to
    none."""
    given = known.step.labels.get(VERSION_LABEL, "")
    return app_version is not None and given.isdecimal() and int(given) > app_version


def _no_longer_declared(
    catalog: Catalog, definitions: Sequence[Mapping[str, Any]], app_version: int | None
) -> list[StepId]:
    """Registered steps from the modules of this app that it declares no more; not those of a later
    version, which this one can't know of."""
    declared = {definition["id"] for definition in definitions}
    modules = {definition["labels"][APP_LABEL] for definition in definitions}
    return [
        id
        for id, registered in sorted(catalog.steps.items())
        if registered.step.labels.get(APP_LABEL) in modules
        and id not in declared
        and not _is_later(registered, app_version)
    ]
