"""Fault drills: real faults on real workers and servers, with an account of every task."""
