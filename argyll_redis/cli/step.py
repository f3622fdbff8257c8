"""`argyll step`: the catalog."""

from __future__ import annotations

from typing import Any

import click

from argyll_redis.cli.answers import print_json, print_text
from argyll_redis.cli.completing import complete_files, complete_steps
from argyll_redis.cli.opened import run
from argyll_redis.cli.options import Asked, common, name_of, read_document
from argyll_redis.cli.refusals import BadNews
from argyll_redis.cli.texts import counted, facts, listed, pairs, table, terminal_width
from argyll_redis.errors import InvalidInput, Problem

STEP_ROLES = ("required", "optional", "const", "meta", "output")


@click.group(short_help="The catalog: register, change and show steps.")
def step() -> None:
    """The catalog: register, change and show steps."""


@step.command()
@click.argument("file", shell_complete=complete_files)
@common
def register(asked: Asked, file: str) -> None:
    """Register the steps in FILE, one or a list, as one transaction.

    FILE holds a step definition as JSON, or a list of them; "-" is standard input. All steps are
    checked together, and either all are registered or none. A step that is registered already with
    the same definition is left as it is; another definition of the same id is refused.

    Example: `argyll step register steps.json`
    """
    definitions, is_list = _definitions(file)
    _answer(asked, run(asked, lambda app: app.register_steps(definitions)), "registered", is_list=is_list)


@step.command()
@click.argument("file", shell_complete=complete_files)
@common
def update(asked: Asked, file: str) -> None:
    """Replace the definitions of registered steps by those in FILE, as one transaction.

    FILE holds a step definition as JSON, or a list of them; "-" is standard input. Every one of them
    must be registered: else none is changed, and the status is 4. An equal definition changes nothing.
    Flows that were started before keep the definitions that they were started with.

    Example: `argyll step update steps.json`
    """
    definitions, is_list = _definitions(file)
    _answer(asked, run(asked, lambda app: app.update_steps(definitions)), "updated", is_list=is_list)


@step.command()
@click.argument("id", shell_complete=complete_steps)
@common
def delete(asked: Asked, id: str) -> None:
    """Remove the step ID from the catalog.

    Flows that were started before keep it; what needs it cannot be planned any more.

    Example: `argyll step delete charge`
    """
    run(asked, lambda app: app.unregister_step(id))
    message = f"step {id} is removed"
    if asked.as_json:
        print_json({"message": message})
    else:
        print_text(message)


def _definitions(file: str) -> tuple[list[Any], bool]:
    """The definitions in a file, and whether they were given as a list. Raises `InvalidInput`."""
    document = read_document(file)
    is_list = isinstance(document, list)
    definitions = document if is_list else [document]
    name, mend = name_of(file), "give a step or a list of steps"
    if not definitions:
        raise InvalidInput(problems=[Problem(name, "holds no step", mend)])
    for number, each in enumerate(definitions):
        if not isinstance(each, dict):
            place = f"{name}: [{number}]" if is_list else name
            raise InvalidInput(problems=[Problem(place, "is not a step, which is an object", mend)])
    return definitions, is_list


def _answer(asked: Asked, steps: list[Any], done: str, *, is_list: bool) -> None:
    ids = [each["id"] for each in steps]
    message = f"step {ids[0]} is {done}"
    if len(ids) > 1:
        message = f"{counted(len(ids), 'step')} are {done}: {listed(ids)}"
    if not asked.as_json:
        print_text(message)
    elif is_list:
        print_json({"message": message, "steps": steps, "count": len(steps)})
    else:
        print_json({"message": message, "step": steps[0]})


@step.command(name="list")
@common
def list_steps(asked: Asked) -> None:
    """List the registered steps.

    Example: `argyll step list`
    """
    steps = run(asked, lambda app: app.steps())
    if asked.as_json:
        print_json({"steps": steps, "count": len(steps)})
    elif steps:
        print_text(step_table(steps, width=terminal_width()))
    else:
        print_text("no steps are registered")


@step.command()
@click.argument("id", shell_complete=complete_steps)
@common
def show(asked: Asked, id: str) -> None:
    """Show the step ID with every default filled in.

    Example: `argyll step show charge`
    """
    definition = run(asked, lambda app: app.get_step(id))
    if asked.as_json:
        print_json(definition)
        return
    print_text(facts(_about(definition)), _attribute_table(definition))


@step.command()
@click.argument("id", required=False, shell_complete=complete_steps)
@common
def health(asked: Asked, id: str | None) -> None:
    """Show how every step is, or the step ID.

    Each engine looks at the steps about every 20 seconds: steps of type sync and async by their health
    check, scripts by compiling, flow steps by their plan. A python step is healthy while a live engine
    has its function. Exits with 1 when a step is unhealthy.

    Example: `argyll step health charge`
    """
    if id is None:
        document = run(asked, lambda app: app.step_health())
        found = document["health"]
    else:
        document = run(asked, lambda app: app.health_of(id))
        found = {id: document}
    if asked.as_json:
        print_json(document)
    elif found:
        print_text(_health_table(found))
    else:
        print_text("no steps are registered")
    ill = [name for name, each in found.items() if each["status"] == "unhealthy"]
    if ill:
        raise BadNews(f"{counted(len(ill), 'step')} unhealthy: {listed(ill)}")


# ----------------------------------------------------------------------- texts


def _health_table(found: dict[str, Any]) -> str:
    rows = [
        (name, each["status"], counted(len(each["engines"]), "engine"), each.get("error"))
        for name, each in found.items()
    ]
    return table(
        ("step", "status", "by", "error"), rows, width=terminal_width(), keep=("step", "status", "by")
    )


def step_table(steps: list[dict[str, Any]], *, width: int | None, why: dict[str, str] | None = None) -> str:
    """One line a step: what it needs and provides, and why it is planned."""
    why = why or {}
    rows = [
        (each["id"], each["type"], needs(each), provides(each), _queue(each), why.get(each["id"]))
        for each in steps
    ]
    headers = ("step", "type", "needs", "provides", "queue", "why")
    return table(headers, rows, width=width, keep=("step", "type"))


def needs(definition: dict[str, Any]) -> str:
    """The inputs of a step; optional ones with a question mark."""
    marks = {"required": "", "optional": "?"}
    return listed(
        name + marks[spec["role"]]
        for name, spec in definition.get("attributes", {}).items()
        if spec["role"] in marks
    )


def provides(definition: dict[str, Any]) -> str:
    """The outputs of a step."""
    attributes = definition.get("attributes", {})
    return listed(name for name, spec in attributes.items() if spec["role"] == "output")


def _queue(definition: dict[str, Any]) -> str:
    return definition.get("python", {}).get("queue", "builtin")


def _about(definition: dict[str, Any]) -> list[tuple[str, object]]:
    """What a step is, beside its attributes."""
    name = definition.get("name")
    return [
        ("step", definition["id"]),
        ("name", name if name != definition["id"] else None),
        ("type", definition["type"]),
        ("queue", _queue(definition)),
        *(
            (part, _told(definition[part]))
            for part in ("http", "script", "flow", "python")
            if part in definition
        ),
        ("predicate", _told(definition.get("predicate", {}))),
        ("memoizable", "yes" if definition.get("memoizable") else None),
        ("work", _told(definition.get("work_config", {}))),
        ("labels", pairs(definition.get("labels", {}))),
    ]


def _told(section: dict[str, Any]) -> str:
    return pairs({name: value for name, value in section.items() if value not in (None, "", [], {})})


def _attribute_table(definition: dict[str, Any]) -> str:
    attributes = definition.get("attributes", {})
    if not attributes:
        return ""
    in_order = sorted(attributes.items(), key=lambda item: (STEP_ROLES.index(item[1]["role"]), item[0]))
    rows = [
        (name, spec["role"], spec.get("type"), _told(spec.get(spec["role"]) or {})) for name, spec in in_order
    ]
    return table(
        ("attribute", "role", "type", "with"), rows, width=terminal_width(), keep=("attribute", "role")
    )
