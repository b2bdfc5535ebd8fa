"""Game days: real faults on real workers and servers, and an account of what became of every task."""
