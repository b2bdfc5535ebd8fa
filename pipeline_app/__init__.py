"""The DSA-110 as data and stages: telescope, ingest, workflow, verdicts."""
