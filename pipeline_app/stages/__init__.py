"""Params and results of each stage, with units; no CASA."""
