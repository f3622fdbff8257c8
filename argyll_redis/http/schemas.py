"""JSON schemas of what goes in and comes out, for the description of the API and the tests of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from argyll_redis.core.limits import (
    MAX_DURATION_MS,
    MAX_GOALS,
    MAX_ID_CHARS,
    MAX_INIT_NAMES,
    MAX_LABELS,
    MAX_METADATA,
)
from argyll_redis.core.model import AttributeType, Backoff, Collect, OnFailure, Role, StepType
from argyll_redis.core.state import FlowStatus, StepStatus, WorkStatus
from argyll_redis.http.route import Schema
from argyll_redis.querying import Sort
from argyll_redis.reading import MAX_LISTED

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {}
TEXTS: Schema = {"type": "array", "items": TEXT}
WHEN: Schema = {"type": "string", "format": "date-time"}
MS: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_DURATION_MS}


def obj(required: Iterable[str] = (), /, **properties: Schema) -> Schema:
    """An object with these fields and no others."""
    shape: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    needed = list(required)
    return {**shape, "required": needed} if needed else shape


def full(**properties: Schema) -> Schema:
    """An object that has all of these fields."""
    return obj(properties, **properties)


def mapping(of: Schema, **more: Any) -> Schema:
    """An object of any names, all with values of one kind."""
    return {"type": "object", "additionalProperties": of, **more}


def listing(of: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": of, **more}


def one_of(words: Iterable[str]) -> Schema:
    return {"type": "string", "enum": [str(word) for word in words]}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


# ------------------------------------------------------------------------ steps

SCRIPT = full(language=one_of(("lua", "jpath")), script=TEXT)
MAPPING = obj(name=TEXT, script=SCRIPT)
ATTRIBUTE = obj(
    ("role",),
    role=one_of(Role),
    type=one_of(AttributeType),
    required=obj(collect=one_of(Collect), for_each=FLAG, match=SCRIPT, mapping=MAPPING),
    optional=obj(collect=one_of(Collect), for_each=FLAG, default=TEXT, deadline=MS, mapping=MAPPING),
    const=obj(("value",), value=TEXT),
    meta=obj(("key",), key=TEXT),
    output=obj(mapping=MAPPING),
)
WORK_CONFIG = obj(
    parallelism=WHOLE,
    max_retries=WHOLE,
    init_backoff=WHOLE,
    max_backoff=WHOLE,
    backoff_type=one_of(Backoff),
    max_attempts=WHOLE,
    jitter={"type": "number", "minimum": 0, "maximum": 1},
    timeout=WHOLE,
    on_failure=one_of(OnFailure),
)
STEP = obj(
    ("id", "type"),
    id={"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS},
    name=TEXT,
    type=one_of(StepType),
    attributes=mapping(ref("Attribute")),
    http=obj(
        ("endpoint",),
        method=one_of(("GET", "POST", "PUT", "DELETE")),
        endpoint=TEXT,
        timeout=WHOLE,
        health_check=TEXT,
        compensate=TEXT,
    ),
    script=SCRIPT,
    flow=full(goals=listing(TEXT, minItems=1)),
    python=obj(("handler",), handler=TEXT, queue=TEXT, permanent=TEXTS, undo=TEXT),
    predicate=SCRIPT,
    memoizable=FLAG,
    work_config=WORK_CONFIG,
    labels=mapping(TEXT, maxProperties=MAX_LABELS),
)

# ------------------------------------------------------------------------ plans

GOALS = listing(TEXT, minItems=1, maxItems=MAX_GOALS)
INIT = mapping(listing(ANY), maxProperties=MAX_INIT_NAMES)
PLAN_REQUEST = obj(("goals",), goals=GOALS, init=INIT)
PLAN = full(
    goals=TEXTS,
    required=TEXTS,
    steps=mapping(ref("Step")),
    children=mapping(ref("Plan")),
    attributes=mapping(full(providers=TEXTS, consumers=TEXTS)),
    excluded=mapping(mapping(TEXTS)),
    why=mapping(TEXT),
)

# ------------------------------------------------------------------------ flows

START = obj(
    ("goals",),
    id=TEXT,
    goals=GOALS,
    init=INIT,
    labels=mapping(TEXT, maxProperties=MAX_LABELS),
    metadata=mapping(ANY, maxProperties=MAX_METADATA),
    compensate=one_of(("flow",)),
    timeout=MS,
)
QUERY = obj(
    id_prefix={"type": "string", "maxLength": MAX_ID_CHARS},
    labels=mapping(TEXT, maxProperties=MAX_LABELS),
    statuses=listing(one_of(FlowStatus)),
    limit={"type": "integer", "minimum": 0, "maximum": MAX_LISTED},
    sort=one_of(Sort),
    cursor=TEXT,
)
FLOW_ROW = obj(
    ("id", "status", "timestamp", "labels"),
    id=TEXT,
    status=one_of(FlowStatus),
    timestamp=WHEN,
    labels=mapping(TEXT),
    error=TEXT,
)
FOUND = full(
    flows=listing(ref("FlowRow")),
    count=COUNT,
    total=COUNT,
    has_more=FLAG,
    next_cursor={"type": ["string", "null"]},
)
WORK_ITEM = obj(
    ("status", "inputs", "retry_count"),
    status=one_of(WorkStatus),
    started_at=WHEN,
    completed_at=WHEN,
    inputs=mapping(ANY),
    outputs=mapping(ANY),
    error=TEXT,
    retry_count=COUNT,
    next_retry_at=WHEN,
    child=TEXT,
)
EXECUTION = obj(
    ("status", "work_items"),
    status=one_of(StepStatus),
    started_at=WHEN,
    completed_at=WHEN,
    inputs=mapping(ANY),
    outputs=mapping(ANY),
    error=TEXT,
    duration=COUNT,
    unsatisfied=TEXTS,
    work_items=mapping(ref("WorkItem")),
)
FLOW = obj(
    ("id", "status", "created_at", "last_updated", "plan", "metadata", "labels", "attributes", "executions"),
    id=TEXT,
    status=one_of(FlowStatus),
    created_at=WHEN,
    completed_at=WHEN,
    deactivated_at=WHEN,
    last_updated=WHEN,
    plan=ref("Plan"),
    metadata=mapping(ANY),
    labels=mapping(TEXT),
    attributes=mapping(listing(obj(("value", "set_at"), value=ANY, step=TEXT, set_at=WHEN))),
    executions=mapping(ref("Execution")),
    error=TEXT,
)
EVENT = full(id=TEXT, type=TEXT, at=COUNT, cause=COUNT, by=TEXT, data=mapping(ANY))
EVENTS = full(events=listing(ref("Event")), count=COUNT)
WHY = full(flow_id=TEXT, step=TEXT, status=TEXT, why=listing(full(text=TEXT, version=COUNT)))

# ----------------------------------------------------------------------- others

HEALTH_WORD = one_of(("healthy", "unhealthy", "unknown"))
STEP_HEALTH = obj(
    ("status", "engines"),
    status=HEALTH_WORD,
    error=TEXT,
    engines=mapping(obj(("status",), status=HEALTH_WORD, error=TEXT)),
)
HEALTH = full(service=TEXT, status=HEALTH_WORD, details=mapping(TEXT))
CATALOG = obj(("steps", "version"), steps=mapping(ref("Step")), version=COUNT, last_updated=WHEN)
MESSAGE = full(message=TEXT)
ERROR = full(error=TEXT, status=WHOLE)
PROBLEM = {
    "type": "object",
    "properties": {"status": {"type": "integer"}, "title": TEXT, "detail": TEXT},
    "additionalProperties": True,
}

COMPONENTS: Mapping[str, Schema] = {
    "Attribute": ATTRIBUTE,
    "Catalog": CATALOG,
    "Error": ERROR,
    "Event": EVENT,
    "Events": EVENTS,
    "Execution": EXECUTION,
    "Flow": FLOW,
    "FlowRow": FLOW_ROW,
    "Found": FOUND,
    "Health": HEALTH,
    "Plan": PLAN,
    "PlanRequest": PLAN_REQUEST,
    "Problem": PROBLEM,
    "Query": QUERY,
    "Start": START,
    "Step": STEP,
    "StepHealth": STEP_HEALTH,
    "Why": WHY,
    "WorkItem": WORK_ITEM,
}
"""Those that have a name of their own."""
