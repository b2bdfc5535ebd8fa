"""The demo: simulated raw tiles through the whole running system, judged against what was put into them."""
