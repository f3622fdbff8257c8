"""The catalog's part of an app: registering, changing, removing and reading steps."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from argyll_redis.core.catalog import Catalog, CatalogEvent, StepUnregistered, register, unregister
from argyll_redis.core.model import JSON, StepId
from argyll_redis.core.parse import with_defaults
from argyll_redis.core.reader import did_you_mean
from argyll_redis.core.step_json import step_to_json
from argyll_redis.declare import Declared
from argyll_redis.errors import UnknownStep

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

        await node.catalog.change(self.by("operator"), decide)
        await _add_queues(node, definitions)
        return [self._shown(node.catalog.catalog, definition["id"]) for definition in definitions]

    async def register_app(
        self, declared: Mapping[str, Declared], *, mode: str, app_version: int | None
    ) -> None:
        """Registers what an app declares: unknown steps are added, changed ones updated (`strict`
        refuses), equal ones touched not at all; those it no longer declares are warned about
        (`sync` removes them). Steps of a later version of the app are left as they are."""
        node = await self.node()
        marked = [_mark(each, app_version) for each in declared.values()]

        def decide(catalog: Catalog) -> Sequence[CatalogEvent]:
            own = [each for each in marked if not _is_later(catalog, each, app_version)]
            events = register(catalog, own, update=mode != "strict", compile_script=node.evaluator.compile)
            gone = _no_longer_declared(catalog, marked)
            if gone and mode == "sync":
                events += unregister(catalog, gone)
            elif gone:
                log.warning("steps that this app once registered and no longer declares: %s", ", ".join(gone))
            return events

        for event in await node.catalog.change(self.by("start"), decide):
            if event.type == "step_updated":
                log.info("step %s was updated", event.registered.step.id)
            elif isinstance(event, StepUnregistered):
                log.info("step %s was removed", event.id)
        await _add_queues(node, marked)

    async def unregister_step(self, id: str) -> None:
        """Removes a step. Running flows keep its definition. Raises `UnknownStep`."""
        node = await self.node()
        await node.catalog.change(self.by("operator"), lambda catalog: unregister(catalog, [id]))

    async def steps(self) -> list[JSON]:
        """All registered steps in id order, defaults filled in."""
        catalog = await (await self.node()).catalog.refresh()
        return [self._shown(catalog, id) for id in sorted(catalog.steps)]

    async def get_step(self, id: str) -> JSON:
        """One registered step, defaults filled in. Raises `UnknownStep`."""
        return self._shown(await (await self.node()).catalog.refresh(), id)

    def _shown(self, catalog: Catalog, id: str) -> JSON:
        registered = catalog.steps.get(StepId(id)) or catalog.steps.get(StepId(id.lower()))
        if registered is None:
            mend = did_you_mean(id, catalog.steps)
            raise UnknownStep(f'no step "{id}" is registered' + (f" ({mend})" if mend else ""))
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
    labels = {**declared.definition.get("labels", {}), APP_LABEL: declared.function.__module__}
    if app_version is not None:
        labels[VERSION_LABEL] = str(app_version)
    return {**declared.definition, "labels": labels}


def _is_later(catalog: Catalog, definition: dict[str, Any], app_version: int | None) -> bool:
    """Whether a later version of the app has registered the step; an app without a version yields
    to none."""
    known = catalog.steps.get(StepId(definition["id"]))
    if known is None or app_version is None:
        return False
    return int(known.step.labels.get(VERSION_LABEL, "0")) > app_version


def _no_longer_declared(catalog: Catalog, definitions: Sequence[dict[str, Any]]) -> list[StepId]:
    """Registered steps from the modules of this app that it declares no more."""
    declared = {definition["id"] for definition in definitions}
    modules = {definition["labels"][APP_LABEL] for definition in definitions}
    return [
        id
        for id, registered in sorted(catalog.steps.items())
        if registered.step.labels.get(APP_LABEL) in modules and id not in declared
    ]
