"""The published editions' verdicts: what they rest on is said."""

import re

import pytest

from rslib import paper, verdicts
from rslib.run import published
from rslib.verdicts import Verdict

WEAKER = ("epochs ", "steps ", "beta ", "width ", "dim ", "depth ", "heads ")


@pytest.fixture(params=published.profiles())
def stored(request):
    return verdicts.load(published.find(request.param))


def test_what_is_not_reproduced_names_fewer_epochs_steps_and_images(stored):
    failed = stored[stored.verdict == Verdict.FAILED].drop_duplicates("model")
    for row in failed.itertuples():
        for told in row.differs.split("; "):
            if told.startswith(WEAKER) or " images, paper " in told:
                assert told in row.why, row.model


def test_every_claim_was_judged_by_the_rule_of_today(stored):
    assert {*paper.CLAIMS} <= {*stored.model}
    assert sum(verdicts.counts(stored).values()) == len(paper.CLAIMS) + 64
    assert verdicts.counts(stored)[Verdict.SHORT]


def test_a_supported_claim_about_methods_says_over_how_many_seeds(stored):
    for name in ("robustness_gain", "accuracy_loss", "cheaper_than_robustness"):
        why = stored[stored.model == name].why.iloc[0]
        assert re.search(r"\((?:one seed|[3-9] seeds); ", why), name
