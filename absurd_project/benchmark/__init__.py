"""The benchmark: speed of the queue, the workers and the pipeline, each compared with its limit."""
