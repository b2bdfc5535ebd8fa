"""The main job for people at a terminal: raw files in, the workflow through queue and workers, a report out."""
