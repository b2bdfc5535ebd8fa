"""How Django writes dates by itself, by language: as the console writes them everywhere else."""
