"""What runs inside the sandbox: the standard library only, sent in when a worker starts.

Nothing here imports from the rest of the program, except from its own folder.
"""
