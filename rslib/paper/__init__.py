"""The paper's numbers and claims: Tables 1 to 5, the claims of its text, and its arithmetic.

Values, from this package's YAML files, are in the units the paper prints: accuracies and attack
success in percent, training times in hours, parameters as counts, the rest as plain ratios. Rows
are named as models are everywhere in rslib, ``<architecture>-<training>``::

    paper.value("table2", "resnet18-standard", "pgd_accuracy").value  # 0.1
    paper.claim("accuracy_gap").value                                 # 3.6
    [each.statement for each in paper.arithmetic() if not each.agrees]
"""

# ruff: noqa: F401 (names that others use)
from rslib.paper.claims import CLAIMS, SECTIONS, Asserted, Claim, Evidence, claim, section_of
from rslib.paper.consistency import Check, arithmetic, attack_success
from rslib.paper.tables import ARCHITECTURES as ARCHITECTURES
from rslib.paper.tables import TABLES, Column, PaperTable, PaperValue, UnknownValue, find, value
