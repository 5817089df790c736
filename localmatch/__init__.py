"""localmatch: which regions of a generated image were copied from which place of which training image.

import localmatch as lm

index = lm.Index.build(["train/"], "train.lmx")
index.calibrate(["clean/"])
audit = index.audit("generated.png")
"""

from localmatch._version import __version__
from localmatch.api import Index
from localmatch.errors import LocalmatchError
from localmatch.kernels import backends
from localmatch.records import Region
from localmatch.result import Audit

__all__ = ["Audit", "Index", "LocalmatchError", "Region", "__version__", "backends"]
