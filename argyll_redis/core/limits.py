"""Every size limit in one table, so that nothing grows without bound and the docs can list them.

A limit is a constant and, below it, one line that says what it counts and why it is what it is;
`docs/reference/limits.md` is made from these lines. Clients rely on
most of them. Nothing else may live here.
"""

# ------------------------------------------------------------------ JSON values

MAX_NESTING = 64
"""levels of arrays and objects in a value: every reader and writer of JSON in use handles more."""
MIN_INTEGER = -(2**63)
"""the smallest whole number: signed 64 bit; smaller ones would be rounded by others."""
MAX_INTEGER = 2**64 - 1
"""the largest whole number: unsigned 64 bit; larger ones would be rounded by others."""
MAX_ARRAY_ELEMENTS = 100_000
"""elements of one array: what still fits an event as numbers, and is walked in a few ms."""

# --------------------------------------------------------------- bodies, events

MAX_BODY_BYTES = 1024 * 1024
"""bytes of a request to the API, and of a step's answer after inflating: bounds memory a request."""
MAX_STEP_BYTES = 512 * 1024
"""bytes of a step definition: a plan holds full copies of thousands of them."""
MAX_EVENT_BYTES = 2 * 1024 * 1024
"""bytes of one event: Redis stays responsive; what exceeds it fails the step that caused it."""
MAX_ERROR_CHARS = 4_096
"""characters of an error text that is kept: texts from outside may be of any size."""

# -------------------------------------------------------------------- definitions

MAX_ID_CHARS = 256
"""characters of a step id or flow id: ids are part of Redis keys and URLs."""
MAX_NAME_CHARS = 256
"""characters of an attribute, handler or exception name, or a metadata key."""
MAX_TITLE_CHARS = 1_024
"""characters of a step's `name`, which is for people."""
MAX_QUEUE_CHARS = 64
"""characters of a queue name: it is part of a Redis key."""
MAX_URL_CHARS = 4_096
"""characters of an endpoint, health check or compensate URL: what servers commonly accept."""
MAX_ATTRIBUTES = 1_024
"""attributes of a step: a join of a thousand branches is possible, a table as attributes is not."""
MAX_PERMANENT = 64
"""exception names a python step lists as permanent."""
MAX_PARALLELISM = 10_000
"""active work items of a step in one flow: no more than it may have."""
MAX_RETRIES = 1_000_000_000
"""`max_retries` and `max_attempts`: more than a flow can live through; -1 or 0 is without end."""
MAX_DURATION_MS = 10 * 365 * 86_400_000
"""ms of any timeout, deadline or backoff (ten years): due times stay exact as Redis scores."""
MAX_REGISTERED_STEPS = 5_000
"""steps registered in one transaction: as many as one plan may hold."""

MAX_SUGGESTIONS = 500
"""names compared for a "did you mean": some 15 ms, so that a wrong id does not stall an engine."""

# ------------------------------------------------------------------------ starts

MAX_GOALS = 64
"""goals of one flow, or of one flow step."""
MAX_INIT_NAMES = 128
"""names of initial values of one flow."""
MAX_LABELS = 32
"""labels of a step or a flow: each label of a flow is an index entry."""
MAX_LABEL_CHARS = 256
"""characters of a label's key, and of its value: both are part of a Redis key."""
MAX_METADATA = 64
"""names in the metadata of one flow."""
MAX_PLAN_STEPS = 5_000
"""steps of one plan, those of its sub-flows included: the most that a transaction may fail or skip."""
MAX_CHILD_DEPTH = 8
"""flows within flows."""
MAX_ITEMS = 10_000
"""work items of one step: counted before anything is expanded."""
MAX_IMPORT_EVENTS = 50_000
"""events of a log that is imported: it is written in one call, which then takes some 200 ms."""
MAX_IMPORT_BYTES = 64 * 1024 * 1024
"""bytes of a document that is imported: it is checked as a whole, and travels in that call."""

# ------------------------------------------------------------------------ scripts

MAX_SCRIPT_BYTES = 64 * 1024
"""bytes of a script's source."""
MAX_JPATH_BYTES = 4 * 1024
"""bytes of a JSONPath's source."""
MAX_JPATH_DESCENTS = 2
"""`..` in one JSONPath: each multiplies the work by the size of the document."""
MAX_JPATH_MATCHES = 10_000
"""matches of one JSONPath evaluation."""
MAX_SCRIPT_INSTRUCTIONS = 1_000_000
"""instructions of one Lua evaluation: some 10 ms, so that no script stalls an engine."""
MAX_SCRIPT_MEMORY_BYTES = 20 * 1024 * 1024
"""bytes that one Lua evaluation may hold."""
MAX_SCRIPT_RESULT_BYTES = 1024 * 1024
"""bytes of a script's result as JSON."""

# -------------------------------------------------------------------- step calls

MAX_FILLED_URL_CHARS = 16_384
"""characters of a URL once its parameters are filled in: services accept no longer ones."""
MAX_REDIRECTS = 5
"""redirects followed for one call: what is still going around then does not end."""

# ------------------------------------------------------------------------ retries

MAX_RETRY_AFTER_MS = 86_400_000
"""ms that `Retry-After` or `after_ms` may ask for (24 h); more is cut to this."""
MAX_LOSSES = 5
"""engines in a row that may die while they run one work item: then the item is to blame."""
