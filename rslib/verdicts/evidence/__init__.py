"""Our numbers for each claim, from stored records.

A claim may be about several things at once (two architectures, two controls): each is a part with
an estimate of its own. Differences that a claim states without a number are signed so that above
zero is as claimed. ``cells`` measures whatever ``claims.yaml`` describes; ``particular`` has a
function for each of the other claims.
"""

from rslib.verdicts.evidence.cells import Part as Part
from rslib.verdicts.evidence.cells import Source as Source
from rslib.verdicts.evidence.cells import parts as parts
from rslib.verdicts.evidence.particular import FUNCTIONS as FUNCTIONS
