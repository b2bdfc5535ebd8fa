"""Files of attempts: checksums, data roots, downloads, and calls that a hung file system cannot block."""
