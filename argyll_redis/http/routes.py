"""The table of all routes: the server, the description of the API, its page and tests are made from it."""

from __future__ import annotations

from argyll_redis.core.limits import MAX_STEP_BYTES
from argyll_redis.http import catalog, flows, socket, state, webhook
from argyll_redis.http.keys import Role
from argyll_redis.http.route import Answer, Number, Route
from argyll_redis.http.schemas import COUNT, FLOW_ROW, MESSAGE, TEXT, full, listing, mapping, ref

AFTER = {"after": Number("Only events after this version.", 0)}
AT = {"at": Number("As the flow was at this version.", 1)}

_INVALID = Answer("The request is not valid; the error names the place and the mend.", ref("Error"))
_NO_STEP = Answer("No step of this id is registered.", ref("Error"))
_NO_FLOW = Answer("No flow of this id exists.", ref("Error"))
_IS_REGISTERED = Answer("The step is registered with another definition.", ref("Error"))
_STARTED = full(message=TEXT, flow_id=TEXT)
_STEP_DONE = full(message=TEXT, step=ref("Step"))

ROUTES: tuple[Route, ...] = (
    Route(
        "GET", "/health", "show_health", None, state.show_health,
        "Whether this process can work, asked of Redis now.",
        {
            200: Answer("It can.", ref("Health")),
            503: Answer("Redis is away, emptied or runs no scripts, or the process drains.", ref("Health")),
        },
        any_query=True,
    ),
    Route(
        "GET", "/engine/step", "list_steps", Role.READ, catalog.list_steps,
        "All registered steps, in id order, with defaults filled in.",
        {200: Answer("The steps.", full(steps=listing(ref("Step")), count=COUNT))},
    ),
    Route(
        "POST", "/engine/step", "register_step", Role.DEFINE, catalog.register_step,
        "Registers a step. The same definition again is a success that changes nothing.",
        {
            201: Answer("The step, with defaults filled in.", _STEP_DONE),
            400: Answer("The definition is not valid, or does not go with the other steps.", ref("Error")),
            409: _IS_REGISTERED,
        },
        body=ref("Step"), max_body_bytes=MAX_STEP_BYTES,
    ),
    Route(
        "GET", "/engine/step/{step}", "show_step", Role.READ, catalog.show_step,
        "One step, with defaults filled in.",
        {200: Answer("The step.", ref("Step")), 404: _NO_STEP},
    ),
    Route(
        "PUT", "/engine/step/{step}", "update_step", Role.DEFINE, catalog.update_step,
        "Replaces the definition of a step; an equal one changes nothing. Flows that run keep the one they "
        "were started with.",
        {
            200: Answer("The step, with defaults filled in.", _STEP_DONE),
            400: Answer("The definition is not valid, or has another id than the path.", ref("Error")),
            404: _NO_STEP,
        },
        body=ref("Step"), max_body_bytes=MAX_STEP_BYTES,
    ),
    Route(
        "DELETE", "/engine/step/{step}", "delete_step", Role.DEFINE, catalog.delete_step,
        "Removes a step. Flows that run keep it.",
        {200: Answer("It is removed.", MESSAGE), 404: _NO_STEP},
    ),
    Route(
        "GET", "/engine", "show_engine", Role.READ, catalog.show_catalog,
        "The state of the catalog.",
        {200: Answer("Steps by id, the version, and when it changed last.", ref("Catalog"))},
    ),
    Route(
        "GET", "/engine/catalog", "show_catalog", Role.READ, catalog.show_catalog,
        "The state of the catalog; the same as `/engine`.",
        {200: Answer("Steps by id, the version, and when it changed last.", ref("Catalog"))},
    ),
    Route(
        "GET", "/engine/catalog/events", "list_catalog_events", Role.READ, catalog.list_catalog_events,
        "Every change of the catalog.",
        {200: Answer("The events.", ref("Events")), 400: _INVALID},
        numbers=AFTER,
    ),
    Route(
        "POST", "/engine/plan", "preview_plan", Role.READ, catalog.preview_plan,
        "Plans without starting. `required` names the values that are missing.",
        {
            200: Answer("The plan.", ref("Plan")),
            400: _INVALID,
            404: Answer("A goal is not registered.", ref("Error")),
        },
        body=ref("PlanRequest"),
    ),
    Route(
        "POST", "/engine/flow", "start_flow", Role.OPERATE, flows.start_flow,
        "Starts a flow. The same start again, by id, is a success that does nothing.",
        {
            201: Answer("The flow is started, under the id given, in lower case, or a new one.", _STARTED),
            400: Answer("The request is not valid, or values are missing; they are named.", ref("Error")),
            404: Answer("A goal is not registered.", ref("Error")),
            409: Answer("The id was started with something else.", ref("Error")),
        },
        body=ref("Start"),
    ),
    Route(
        "GET", "/engine/flow", "list_flows", Role.READ, flows.list_flows,
        "The newest flows, 1,000 at most; no children.",
        {200: Answer("Rows, newest first.", listing(FLOW_ROW))},
    ),
    Route(
        "POST", "/engine/flow/query", "query_flows", Role.READ, flows.query_flows,
        "Finds flows by the beginning of their id, labels and status, in pages by start time.",
        {200: Answer("A page.", ref("Found")), 400: _INVALID},
        body=ref("Query"),
    ),
    Route(
        "GET", "/engine/flow/{flow}", "show_flow", Role.READ, flows.show_flow,
        "The state of a flow, as it is or as it was at a version.",
        {200: Answer("The state.", ref("Flow")), 400: _INVALID, 404: _NO_FLOW},
        numbers=AT,
    ),
    Route(
        "GET", "/engine/flow/{flow}/status", "show_status", Role.READ, flows.show_status,
        "The status of a flow, from the index: one read, whatever the flow's size.",
        {200: Answer("The status.", full(id=TEXT, status=TEXT)), 404: _NO_FLOW},
    ),
    Route(
        "GET", "/engine/flow/{flow}/events", "list_events", Role.READ, flows.list_events,
        "The events of a flow, in full. With `Accept: text/event-stream` they are followed live, and "
        "`Last-Event-ID` resumes.",
        {
            200: Answer("The events, or a stream of them.", ref("Events")),
            204: Answer("For a stream: the flow is over, and the client has all of it."),
            400: _INVALID,
            404: _NO_FLOW,
        },
        numbers=AFTER,
    ),
    Route(
        "POST", "/engine/flow/{flow}/cancel", "cancel_flow", Role.OPERATE, flows.cancel_flow,
        'Ends a flow as failed, with "cancelled". One that is over stays as it is.',
        {
            200: Answer("It is over.", _STARTED),
            404: _NO_FLOW,
            409: Answer("The flow was imported: it is read, never run.", ref("Error")),
        },
    ),
    Route(
        "GET", "/engine/flow/{flow}/why/{step}", "explain_step", Role.READ, flows.explain_step,
        "Why a step ran, waits, was skipped, failed or was never planned.",
        {
            200: Answer("Clauses, each with the version of the event it rests on.", ref("Why")),
            404: Answer("No such flow, or no such step.", ref("Error")),
        },
    ),
    Route(
        "POST", "/webhook/{flow}/{step}/{token}", "take_outcome", None, webhook.take_outcome,
        "Takes the outcome of a work item: a JSON object is a success; application/problem+json with status "
        "429 or 5xx means try again, with another or none a permanent failure. `Argyll-Attempt` says of "
        "which attempt it speaks.",
        {
            200: Answer("The outcome is recorded, or was known already.", MESSAGE),
            400: Answer("The body is not valid, or flow, step or token is unknown.", ref("Error")),
        },
        body=mapping({}), any_query=True,
    ),
    Route(
        "GET", "/engine/ws", "follow", Role.READ, socket.follow,
        "A websocket with several subscriptions to flows, to all flows, or to the catalog.",
        {
            101: Answer("The connection is a websocket from here on."),
            426: Answer("It was not asked for as a websocket.", ref("Error")),
        },
        is_socket=True,
    ),
    Route(
        "GET", "/engine/health", "list_step_health", Role.READ, state.list_step_health,
        "How every step is, by the word of all live engines.",
        {200: Answer("The steps.", full(health=mapping(ref("StepHealth")), count=COUNT))},
    ),
    Route(
        "GET", "/engine/health/{step}", "show_step_health", Role.READ, state.show_step_health,
        "How one step is, by the word of all live engines.",
        {200: Answer("The step.", ref("StepHealth")), 404: _NO_STEP},
    ),
    Route(
        "GET", "/metrics", "show_metrics", Role.READ, state.show_metrics,
        "Figures for Prometheus.",
        {200: Answer("The figures.", None, "text/plain")},
        any_query=True,
    ),
    Route(
        "GET", "/openapi.json", "show_openapi", Role.READ, state.show_openapi,
        "This description.",
        {200: Answer("An OpenAPI document.", mapping({}))},
    ),
)  # fmt: skip
