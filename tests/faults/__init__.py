"""What may happen to a run: kills, full disks, company, moved clocks and folders, broken downloads.

``make test`` tries a few of each; ``make faults`` (``python -m tests.faults``) tries all, and
prints how many tries there were and how many results were lost or wrong.
"""
