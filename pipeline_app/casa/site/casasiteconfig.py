"""CASA's site configuration: offline, silent, everything below one directory.

casaconfig executes this file and takes every name without an underscore for a setting.
"""

import os as _os

measurespath = _os.environ["ABSURD_CASA_MEASURES"]
datapath = [measurespath]
data_auto_update = False
measures_auto_update = False
logfile = _os.environ["ABSURD_CASA_LOG"]
cachedir = _os.environ["ABSURD_CASA_CACHE"]
nologger = True
nogui = True
agg = True
log2term = False
