"""Processing of a directory of raw files: runs through queue and workers, progress, a report."""
