"""The paper's numbers and claims: Tables 1 to 5, the claims of its text, and its arithmetic.

Values are kept in the units the paper prints: accuracies and attack success in percent, training
times in hours, parameters as counts, calibration error, IoU, losses and mCE as plain ratios. The
numbers and words are in this package's YAML files.

Rows are named as models are named everywhere in rslib, ``<architecture>-<training>``::

    paper.value("table2", "resnet18-standard", "pgd_accuracy").value  # 0.1
    paper.claim("accuracy_gap").value                                 # 3.6
    [each.statement for each in paper.arithmetic() if not each.agrees]
"""

from rslib.paper.claims import CLAIMS as CLAIMS
from rslib.paper.claims import SECTIONS as SECTIONS
from rslib.paper.claims import Asserted as Asserted
from rslib.paper.claims import Claim as Claim
from rslib.paper.claims import Evidence as Evidence
from rslib.paper.claims import claim as claim
from rslib.paper.claims import section_of as section_of
from rslib.paper.consistency import Check as Check
from rslib.paper.consistency import arithmetic as arithmetic
from rslib.paper.consistency import attack_success as attack_success
from rslib.paper.tables import ARCHITECTURES as ARCHITECTURES
from rslib.paper.tables import TABLES as TABLES
from rslib.paper.tables import Column as Column
from rslib.paper.tables import PaperTable as PaperTable
from rslib.paper.tables import PaperValue as PaperValue
from rslib.paper.tables import UnknownValue as UnknownValue
from rslib.paper.tables import find as find
from rslib.paper.tables import value as value
