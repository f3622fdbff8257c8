"""The programs of the peers: for each a worker and a client, run in an environment of its own.

They import nothing of argyll_redis, which is not there. What differs between the peers is only how a flow
is expressed; what is asked and answered is in `protocol`.
"""
