"""Steps as JSON: the one shape of files, of the API and within plans, keys in a fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from argyll_redis.core.model import (
    JSON,
    Attribute,
    AttributeType,
    Backoff,
    Collect,
    HttpWork,
    Mapping_,
    OnFailure,
    PythonWork,
    Role,
    Script,
    Step,
    StepId,
    StepType,
    WorkConfig,
)

_INPUTS = (Role.REQUIRED, Role.OPTIONAL)


def assemble(
    *,
    id: StepId,
    name: str,
    type: StepType,
    attributes: Iterable[Attribute],
    work: WorkConfig,
    http: HttpWork | None = None,
    script: Script | None = None,
    goals: tuple[StepId, ...] = (),
    python: PythonWork | None = None,
    predicate: Script | None = None,
    memoizable: bool = False,
    labels: Mapping[str, str] | None = None,
) -> Step:
    """Makes a step of its parts; works out once what follows from its attributes."""
    ordered = sorted(attributes, key=lambda attribute: attribute.name)
    inputs = tuple(attribute for attribute in ordered if attribute.role in _INPUTS)
    outputs = tuple(attribute for attribute in ordered if attribute.role is Role.OUTPUT)
    return Step(
        id=id,
        name=name,
        type=type,
        attributes={attribute.name: attribute for attribute in ordered},
        http=http,
        script=script,
        goals=goals,
        python=python,
        predicate=predicate,
        memoizable=memoizable,
        work=work,
        labels=labels or {},
        inputs=inputs,
        constants=tuple(attribute for attribute in ordered if attribute.role is Role.CONST),
        metas=tuple(attribute for attribute in ordered if attribute.role is Role.META),
        outputs=outputs,
        for_each=tuple(attribute for attribute in ordered if attribute.for_each),
        needs=tuple(attribute for attribute in inputs if attribute.role is Role.REQUIRED),
        patience=tuple(attribute for attribute in inputs if attribute.deadline_ms),
        maps_inputs=any(attribute.has_script for attribute in inputs),
        maps_outputs=any(attribute.has_script for attribute in outputs),
    )


# -------------------------------------------------------------------- to JSON


def step_to_json(step: Step) -> dict[str, JSON]:
    """A definition with defaults filled in; retry fields that are yet to be filled are left out."""
    found: dict[str, JSON] = {
        "id": step.id,
        "name": step.name,
        "type": str(step.type),
        "attributes": {name: _attribute_to_json(each) for name, each in step.attributes.items()},
    }
    if step.http:
        found["http"] = _http_to_json(step.http)
    if step.script:
        found["script"] = _script_to_json(step.script)
    if step.goals:
        found["flow"] = {"goals": list(step.goals)}
    if step.python:
        found["python"] = _python_to_json(step.python)
    if step.predicate:
        found["predicate"] = _script_to_json(step.predicate)
    found["memoizable"] = step.memoizable
    found["work_config"] = _work_to_json(step.work)
    found["labels"] = dict(step.labels)
    return found


def _attribute_to_json(attribute: Attribute) -> dict[str, JSON]:
    found: dict[str, JSON] = {"role": str(attribute.role)}
    if attribute.type is not None:
        found["type"] = str(attribute.type)
    of_role = _role_to_json(attribute)
    if of_role:
        found[str(attribute.role)] = of_role
    return found


def _role_to_json(attribute: Attribute) -> dict[str, JSON]:
    if attribute.role is Role.CONST:
        return {"value": attribute.value}
    if attribute.role is Role.META:
        return {"key": attribute.key}
    found: dict[str, JSON] = {}
    if attribute.role in _INPUTS:
        found["collect"] = str(attribute.collect)
        found["for_each"] = attribute.for_each
    if attribute.match:
        found["match"] = _script_to_json(attribute.match)
    if attribute.role is Role.OPTIONAL:
        found["deadline"] = attribute.deadline_ms
    if attribute.default is not None:
        found["default"] = attribute.default
    if attribute.mapping:
        found["mapping"] = _mapping_to_json(attribute.mapping)
    return found


def _mapping_to_json(mapping: Mapping_) -> dict[str, JSON]:
    found: dict[str, JSON] = {}
    if mapping.name:
        found["name"] = mapping.name
    if mapping.script:
        found["script"] = _script_to_json(mapping.script)
    return found


def _script_to_json(script: Script) -> dict[str, JSON]:
    return {"language": script.language, "script": script.script}


def _http_to_json(http: HttpWork) -> dict[str, JSON]:
    found: dict[str, JSON] = {"method": http.method, "endpoint": http.endpoint, "timeout": http.timeout_ms}
    if http.health_check:
        found["health_check"] = http.health_check
    if http.compensate:
        found["compensate"] = http.compensate
    return found


def _python_to_json(python: PythonWork) -> dict[str, JSON]:
    found: dict[str, JSON] = {
        "handler": python.handler,
        "queue": python.queue,
        "permanent": list(python.permanent),
    }
    if python.undo:
        found["undo"] = python.undo
    return found


def _work_to_json(work: WorkConfig) -> dict[str, JSON]:
    retry: dict[str, tuple[str, JSON]] = {
        "max_retries": ("max_retries", work.max_retries),
        "init_backoff_ms": ("init_backoff", work.init_backoff_ms),
        "max_backoff_ms": ("max_backoff", work.max_backoff_ms),
        "backoff": ("backoff_type", str(work.backoff)),
    }
    return {
        "parallelism": work.parallelism,
        **{name: value for field, (name, value) in retry.items() if field not in work.left_out},
        "max_attempts": work.max_attempts,
        "jitter": work.jitter,
        "timeout": work.timeout_ms,
        "on_failure": str(work.on_failure),
    }


# ------------------------------------------------------------------ from JSON


def step_from_json(data: Mapping[str, JSON]) -> Step:
    """Reads a filled step that `step_to_json` wrote, without checking it again."""
    python = data.get("python")
    http = data.get("http")
    flow = data.get("flow")
    return assemble(
        id=data["id"],
        name=data["name"],
        type=StepType(data["type"]),
        attributes=[_attribute_from_json(name, each) for name, each in data["attributes"].items()],
        http=_http_from_json(http) if http else None,
        script=_script_from_json(data.get("script")),
        goals=tuple(flow["goals"]) if flow else (),
        python=_python_from_json(python) if python else None,
        predicate=_script_from_json(data.get("predicate")),
        memoizable=data["memoizable"],
        work=_work_from_json(data["work_config"]),
        labels=data["labels"],
    )


def _attribute_from_json(name: str, data: Mapping[str, JSON]) -> Attribute:
    role = Role(data["role"])
    declared = data.get("type")
    given: Mapping[str, JSON] = data.get(role, {})
    mapping = given.get("mapping")
    return Attribute(
        name=name,
        role=role,
        type=AttributeType(declared) if declared else None,
        collect=Collect(given.get("collect", Collect.FIRST)),
        for_each=given.get("for_each", False),
        match=_script_from_json(given.get("match")),
        mapping=Mapping_(mapping.get("name"), _script_from_json(mapping.get("script"))) if mapping else None,
        default=given.get("default"),
        deadline_ms=given.get("deadline", 0),
        value=given.get("value"),
        key=given.get("key"),
    )


def _script_from_json(data: Mapping[str, JSON] | None) -> Script | None:
    return Script(data["language"], data["script"]) if data else None


def _http_from_json(data: Mapping[str, JSON]) -> HttpWork:
    return HttpWork(
        endpoint=data["endpoint"],
        method=data["method"],
        timeout_ms=data["timeout"],
        health_check=data.get("health_check"),
        compensate=data.get("compensate"),
    )


def _python_from_json(data: Mapping[str, JSON]) -> PythonWork:
    return PythonWork(data["handler"], data["queue"], tuple(data["permanent"]), data.get("undo"))


def _work_from_json(data: Mapping[str, JSON]) -> WorkConfig:
    return WorkConfig(
        parallelism=data["parallelism"],
        max_retries=data["max_retries"],
        init_backoff_ms=data["init_backoff"],
        max_backoff_ms=data["max_backoff"],
        backoff=Backoff(data["backoff_type"]),
        max_attempts=data["max_attempts"],
        jitter=data["jitter"],
        timeout_ms=data["timeout"],
        on_failure=OnFailure(data["on_failure"]),
    )
