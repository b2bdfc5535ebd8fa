"""How fast the queue is, measured in a scratch database beside what the same rows cost without it."""
