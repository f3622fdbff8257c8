"""Script languages behind one small protocol: compile, and evaluate within limits."""

from argyll_redis.scripting.evaluator import Evaluator
from argyll_redis.scripting.protocol import MISSING, Language, Missing, Program, Purpose
from argyll_redis.scripting.registry import LANGUAGES

__all__ = ["LANGUAGES", "MISSING", "Evaluator", "Language", "Missing", "Program", "Purpose"]
