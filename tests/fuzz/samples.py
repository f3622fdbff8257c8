"""Valid definitions of every type, with every field: what mutations start from."""

from __future__ import annotations

from typing import Any

STEPS: tuple[dict[str, Any], ...] = (
    {
        "id": "double",
        "name": "Doubles",
        "type": "script",
        "attributes": {
            "a": {"role": "required", "type": "number"},
            "b": {"role": "output", "type": "number"},
        },
        "script": {"language": "lua", "script": "return {b = a * 2}"},
        "labels": {"team": "numbers"},
    },
    {
        "id": "triple",
        "type": "script",
        "attributes": {
            "b": {"role": "required", "required": {"collect": "last"}, "type": "number"},
            "c": {"role": "output", "type": "number"},
        },
        "script": {"language": "lua", "script": "return {c = b * 3}"},
        "predicate": {"language": "jpath", "script": "$.b"},
        "memoizable": True,
    },
    {
        "id": "each",
        "type": "python",
        "python": {"handler": "each", "queue": "slow", "permanent": ["ValueError"], "undo": "unmake"},
        "attributes": {
            "list": {"role": "required", "type": "array", "required": {"for_each": True}},
            "c": {"role": "optional", "optional": {"default": "1", "deadline": 50}, "type": "number"},
            "limit": {"role": "const", "const": {"value": "[1,2]"}, "type": "array"},
            "token": {"role": "meta", "meta": {"key": "receipt_token"}},
            "made": {"role": "output", "type": "array"},
        },
        "work_config": {
            "parallelism": 4,
            "max_retries": 3,
            "init_backoff": 10,
            "max_backoff": 100,
            "backoff_type": "linear",
            "max_attempts": 5,
            "jitter": 0.5,
            "timeout": 1000,
            "on_failure": "tolerate",
        },
    },
    {
        "id": "ask",
        "type": "async",
        "http": {
            "method": "POST",
            "endpoint": "http://shop.test/orders/{a}",
            "timeout": 500,
            "health_check": "http://shop.test/health",
            "compensate": "http://shop.test/undo/{answer}",
        },
        "attributes": {"a": {"role": "required", "type": "number"}, "answer": {"role": "output"}},
    },
    {
        "id": "get",
        "type": "sync",
        "http": {"method": "GET", "endpoint": "http://shop.test/{id}"},
        "attributes": {
            "answer": {
                "role": "required",
                "required": {
                    "mapping": {"name": "id", "script": {"language": "jpath", "script": "$.id"}},
                    "match": {"language": "lua", "script": "return value ~= nil"},
                },
            },
            "page": {
                "role": "output",
                "output": {"mapping": {"name": "p", "script": {"language": "lua", "script": "return value"}}},
            },
        },
    },
    {
        "id": "sub",
        "type": "flow",
        "flow": {"goals": ["triple"]},
        "attributes": {
            "x": {"role": "required", "required": {"mapping": {"name": "a"}}, "type": "number"},
            "y": {"role": "output", "output": {"mapping": {"name": "c"}}, "type": "number"},
        },
    },
    {
        "id": "without",
        "type": "script",
        "script": {"language": "lua", "script": "return {d = 1}"},
        "attributes": {
            "page": {"role": "required", "required": {"collect": "none"}},
            "d": {"role": "output"},
        },
    },
)
