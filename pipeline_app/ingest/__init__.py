"""Raw UVH5 files into tiles: one reader of headers, grouping, registration, and the process that watches for files."""
