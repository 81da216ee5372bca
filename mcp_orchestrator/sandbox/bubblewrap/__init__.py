"""The embedded back end: namespaces by bubblewrap, without a daemon and without privileges.

A small launcher process of our own starts, limits, kills and reaps the sandboxes. It is
single-threaded and light, so it forks in a fraction of a millisecond, it can drop root before
bwrap, and when the server dies by any means it ends everything and leaves.
"""
