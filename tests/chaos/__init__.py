"""Real processes under faults: engines, Redis, services and clients, struck by a seeded plan, then judged.

`python -m tests.chaos --list` names the gates; each is one file in `gates/`. What a run writes lies in
one directory: the servers' data, what each process said, and the journals of calls and answers.
"""
