"""Known bugs."""
from argyll_redis.testing.stage import Bug
BUGS: dict[str, Bug] = {}
