"""`@app.step` without the app: from a Python function to a step."""

from argyll_redis.declare.function import Declared, Function, Retry, declare

__all__ = ["Declared", "Function", "Retry", "declare"]
