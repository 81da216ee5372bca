"""The queue on Redis Streams; Valkey, Sentinel and Cluster by URL.

One stream and consumer group per priority holds what is ready; every transition is one script in
``lua/``, so it happens wholly or not at all. Leases are a sorted set by the moment they end, which
finds what dead workers held without a look at each pending entry, in the same order for every
priority. The consumer group has a single consumer: who holds what is in the task and its lease,
and dead consumers would otherwise pile up.

A reader that meets an entry of a type it does not handle (or that is paused) moves it to a sorted
set of that type, ordered as it was; everything there is older than what the stream has yet to
deliver, so order is kept. What is handed back goes there too: to the head of its priority.
"""
