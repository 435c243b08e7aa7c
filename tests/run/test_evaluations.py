"""What the keys of records hold beside the settings of their own section."""

from rslib import settings
from rslib.run import evaluations


def test_autoattack_after_pgd_depends_on_what_pgd_finds():
    chosen = {"pgd": {"steps": 7, "n": 50, "last_iterate": False}}
    inputs = evaluations.find("autoattack").inputs
    for first, told in ((True, {"pgd": {"steps": 7}}), (False, {})):
        chosen["autoattack"] = {"skip_broken_by_pgd": first}
        # How many images and whether last iterates are known changes nothing of what PGD breaks.
        loaded = settings.load("paper", chosen)
        assert inputs(loaded) == told


def test_saliency_under_attack_depends_on_all_of_pgd():
    loaded = settings.load("paper", {"pgd": {"steps": 7, "n": 50}})
    assert evaluations.find("attacked_saliency").inputs(loaded) == {"pgd": {"steps": 7, "n": 50}}
