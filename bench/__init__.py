"""How fast argyll_redis is, measured through its public API alone: `python -m bench W0 W1 W2 W3`.

The product has no code for it: workers are ordinary apps in processes of their own, the server is read
by `INFO` and `SLOWLOG`, and the ceiling is the run's own bytes, sent again from a socket that does
nothing else. `docs/performance.md` says what the figures mean.
"""
