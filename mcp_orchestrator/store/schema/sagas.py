"""Tables of the sagas."""
