"""The scaled-out back end: a container for each run, on a Docker engine."""
