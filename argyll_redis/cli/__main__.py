"""`python -m argyll_redis.cli` is `argyll`."""

from argyll_redis.cli import main

main()
