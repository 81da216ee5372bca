"""The tools, in sets that a client can choose from."""
