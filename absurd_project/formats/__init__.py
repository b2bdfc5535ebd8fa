"""How Django writes dates on its own pages, by language: as the console writes them everywhere else."""
