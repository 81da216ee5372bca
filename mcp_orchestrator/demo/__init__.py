"""What the demo needs beyond the server itself: a real model, small enough for any machine."""
