"""The queue on Redis Streams; Valkey, Sentinel and Cluster by URL.

One stream per priority holds what is ready; every transition is one script in ``lua/``, so it
happens wholly or not at all. An entry leaves its stream in the script that hands it out: who holds
what is in the task and its lease, so a consumer group's list of pending entries would only say it
again. Leases are a sorted set by the moment they end, which finds what dead workers held without a
look at each one, in the same order for every priority.

A reader that meets an entry of a type it does not handle (or that is paused) moves it to a sorted
set of that type, ordered as it was; everything there is older than what the stream has yet to
deliver, so order is kept. What is handed back goes there too: to the head of its priority.
"""
