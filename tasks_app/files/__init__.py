"""Files of attempts: checksums, data roots, logs, and reads that a hung file system cannot hold up."""
