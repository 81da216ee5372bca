"""Tables of the tasks."""
