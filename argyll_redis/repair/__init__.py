"""What can be lost, rebuilt from the logs: the library behind `argyll repair`.

The log is the truth and everything beside it a cache: heads, indexes, counts of plans, queues, what is
pending. Each look compares what is there with what the logs say and gives findings; a finding may know
its mend, which is one call that is refused when the flow has gone on meanwhile. So a repair may run
while engines run, and what it leaves halfway is found again by the next one.

`flows` looks at heads and rows flow by flow, `rows` at what is in indexes and belongs to nobody, `plans`
at counts, `queues` at streams and due entries, `lacks` at what flows ought to have pending; `run`
goes through a namespace.
"""
