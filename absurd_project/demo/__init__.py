"""The demo: simulated raw tiles through the whole running system, compared with the injected truth."""
