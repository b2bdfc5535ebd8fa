"""The stages that need CASA; the only package that imports casatools, casatasks, casacore, pyuvdata or matplotlib.

Importing it configures CASA for this process (see `runtime`): CASA cannot be imported through here unconfigured.
"""

from __future__ import annotations

from pipeline_app.casa import runtime

runtime.configure()
