"""The task queue against raw Redis and the other Python queues on Redis: `make bench-queue`."""
