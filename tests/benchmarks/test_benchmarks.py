"""The benchmarks: the harness with contenders made up for it, each row's check, storage and page.

Times are never asserted, only that contenders agree, that counts are right, and what is written.
"""

import copy
import functools
import re
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import (
    __main__ as command,
)
from benchmarks import (
    attacks,
    clock,
    corruptions,
    floors,
    foreseen,
    harness,
    page,
    recipes,
    results,
    saliency,
    scorecard,
    smoothing,
    stages,
    subjects,
    training,
)
from benchmarks.attacks import Attacked
from benchmarks.harness import OURS, Contender, Disagreement, Row
from benchmarks.rates import Rates
from benchmarks.smoothing import same_certificates
from rslib import data, models
from rslib.attacks import Threat
from rslib.data import DataError
from rslib.models import device
from rslib.smoothing import Certificates
from rslib.store import records
from tests.helpers.attack_models import patterned_set, train_on_patterns

SMALL = {"resnet18": {"width": 8}, "vit_small": {"dim": 16, "depth": 2, "heads": 2, "patch": 8}}


@functools.cache
def small(name):
    """A small untrained net in place of a published one."""
    torch.manual_seed(0)
    architecture = name.partition("-")[0]
    return device.place(
        models.build(architecture, **SMALL[architecture]), torch.device("cpu")
    ).eval()


@functools.cache
def shapes(split):
    """Shapes in place of CIFAR-10, labeled as the small net sees them."""
    made = data.load("shapes", split, n=40)
    labels = small("resnet18-standard")(made.images / 255).argmax(1)
    return data.Dataset(
        made.images, labels, data.classes("cifar10"), "cifar10", split, torch.arange(40)
    )


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    monkeypatch.setattr(subjects, "trained", small)
    monkeypatch.setattr(subjects, "split", shapes)


published = subjects.trained


# The harness


class Clock:
    """Time that passes only when a contender says so."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(clock.time, "perf_counter", lambda: self.now)

    def takes(self, *seconds, answer=1):
        """Work that takes so long, call by call; the last one from then on."""
        left = list(seconds)

        def run():
            self.now += left.pop(0) if len(left) > 1 else left[0]
            return answer

        return run


def same(answers):
    if len(set(answers.values())) > 1:
        raise Disagreement(str(answers))
    return f"all gave {answers[OURS]}"


def test_the_ratio_is_of_medians_an_item_with_the_rounds_range(monkeypatch):
    clock = Clock(monkeypatch)
    ours = Contender(OURS, clock.takes(9, 1, 2, 4), items=2)
    theirs = Contender("slow", clock.takes(9, 30, 20, 10), items=4)
    row = Row("work", [ours, theirs], same, targets={"slow": 6.0}, note="all of it")
    found = harness.measure(row, 3)
    # Ours: 0.5, 1, 2 seconds an item; theirs: 7.5, 5, 2.5. The first round is warm-up.
    assert found["contenders"][OURS]["milliseconds"] == {"median": 1000, "low": 500, "high": 2000}
    assert found["contenders"]["slow"]["milliseconds"]["median"] == 5000
    assert found["contenders"]["slow"]["seconds"] == [30, 20, 10]
    assert found["ratios"]["slow"] == {
        "ratio": 5.0, "low": 1.25, "high": 15.0, "target": 6.0, "met": False,
    }  # fmt: skip
    assert (found["row"], found["same"], found["note"]) == ("work", "all gave 1", "all of it")


def test_a_contender_may_say_how_long_the_compared_part_took(monkeypatch):
    clock = Clock(monkeypatch)
    ours = Contender(OURS, clock.takes(9, answer=2), 1, seconds=lambda answer: answer / 4)
    found = harness.measure(Row("work", [ours, Contender("p", clock.takes(2), 1)], lambda _: ""), 1)
    assert found["contenders"][OURS]["seconds"] == [0.5]
    assert found["ratios"]["p"]["ratio"] == 4


def test_a_row_without_warm_up_counts_its_first_round(monkeypatch):
    clock = Clock(monkeypatch)
    peers = [Contender(OURS, clock.takes(5, 1), 1), Contender("other", clock.takes(10, 4), 1)]
    row = Row("work", peers, same, targets={"other": 2.0}, warm_up=False, shortfall="none is known")
    found = harness.measure(row, 1)
    assert found["contenders"][OURS]["seconds"] == [5]
    assert found["ratios"]["other"]["met"] is True
    assert found["shortfall"] == ""  # told only where a target is missed


def test_the_known_reason_is_told_where_a_target_is_missed(monkeypatch):
    clock = Clock(monkeypatch)
    peers = [Contender(OURS, clock.takes(1), 1), Contender("other", clock.takes(1), 1)]
    row = Row("work", peers, same, targets={"other": 2.0}, shortfall="both pass through the net")
    assert harness.measure(row, 1)["shortfall"] == "both pass through the net"


def test_rounds_are_taken_in_turns_and_in_turned_order():
    order = []

    def noted(name):
        return Contender(name, lambda: order.append(name), 1)

    row = Row("work", [noted(OURS), noted("a"), noted("b")], lambda answers: "")
    harness.measure(row, 2)
    assert order == [OURS, "a", "b", "b", "a", OURS, OURS, "a", "b"]


def test_images_are_counted_whatever_the_number_of_rounds():
    net, watched = nn.Flatten(), nn.Flatten()

    def run():
        net(torch.zeros(3, 2, 2)), net(torch.zeros(5, 2, 2))
        return 4

    row = Row(
        "work",
        [
            Contender(OURS, run, items=2, model=net, told=lambda answer: answer),
            Contender("other", lambda: watched(torch.zeros(6, 1)) is None or 4, 3, watched),
            Contender("none", lambda: 4, 1),
        ],
        lambda answers: "",
    )
    found = harness.measure(row, 2)["contenders"]
    assert found[OURS]["passes"] == (3 + 5 + 4) / 2
    assert (found["other"]["passes"], found["none"]["passes"]) == (2, None)
    assert not net._forward_hooks and not watched._forward_hooks


def test_contenders_that_disagree_are_not_timed(monkeypatch):
    clock = Clock(monkeypatch)
    peers = [Contender(OURS, clock.takes(1), 1), Contender("b", clock.takes(1, answer=2), 1)]
    with pytest.raises(Disagreement, match="'b': 2"):
        harness.measure(Row("work", peers, same), 3)
    assert clock.now == 2  # one round


def test_a_peer_that_is_not_installed_is_named_with_the_way_out():
    def absent():
        import surely_not_installed  # noqa: F401

    there = Contender("there", lambda: 1, 1)
    found, missing = harness.gather({"absent": absent, "there": lambda: there})
    assert found == [there]
    assert missing == {
        "absent": "not measured: surely_not_installed is not installed (pip install '.[dev]')"
    }
    row = harness.measure(Row("work", [Contender(OURS, lambda: 1, 1)], same, missing=missing), 1)
    assert "| absent |" in results.table([row]) and "pip install '.[dev]'" in results.table([row])


def test_a_total_adds_what_an_item_costs_round_by_round(monkeypatch):
    clock = Clock(monkeypatch)
    rows = [
        Row(
            "a",
            [Contender(OURS, clock.takes(0, 2, 4), 2), Contender("p", clock.takes(0, 9, 9), 3)],
            same,
        ),  # fmt: skip
        Row(
            "b",
            [
                Contender(OURS, clock.takes(0, 1, 1), 1),
                Contender("p", clock.takes(0, 1, 5), 1),
                Contender("q", clock.takes(1), 1),
            ],
            same,
        ),  # fmt: skip
    ]
    found = harness.total("a and b", [harness.measure(row, 2) for row in rows], {"p": 2.0})
    assert found["contenders"][OURS]["seconds"] == [2, 3]
    assert found["contenders"]["p"]["seconds"] == [4, 8]
    assert found["ratios"]["p"]["ratio"] == pytest.approx(6 / 2.5)
    assert found["ratios"]["p"]["met"] is True
    assert found["missing"] == {"q": "not in every row: no total"}


RATES = Rates(operations=1e6, bytes=1e5)


def test_a_rows_floor_is_of_ours_in_a_run_that_is_not_timed(monkeypatch):
    clock = Clock(monkeypatch)
    net, x = nn.Linear(100, 50), torch.zeros(4, 100)
    calls = []

    def run():
        calls.append(net(x))
        clock.now += 0.8
        return 1

    peers = [Contender(OURS, run, items=4), Contender("other", clock.takes(2), 1)]
    row = Row("work", peers, same, moved=500)
    found = harness.measure(row, 2, rates=RATES)
    # 2 * 100 * 50 operations at a million a second; 500 bytes are there in 5 ms. Ours takes 200 ms.
    assert found["floor"] == {
        "operations": 10_000, "bytes": 500, "milliseconds": pytest.approx(10),
        "times": pytest.approx(20),
    }  # fmt: skip
    assert len(calls) == 4 and len(found["contenders"][OURS]["seconds"]) == 2
    alone = harness.measure(replace(row, products=False), 1, rates=RATES)
    assert alone["floor"]["operations"] == 0
    assert alone["floor"]["milliseconds"] == pytest.approx(5)


def test_a_row_without_a_floor_says_why(monkeypatch):
    row = Row("work", [Contender(OURS, lambda: 1, 1)], same, no_floor="nothing is computed")
    found = harness.measure(row, 1, rates=RATES)
    assert found["floor"] is None and found["no_floor"] == "nothing is computed"
    assert "Without a floor: nothing is computed." in results.footnotes([found])
    # Nor has one that could have one, where the device was not measured.
    assert harness.measure(replace(row, moved=1), 1)["floor"] is None


def test_a_totals_floor_is_the_sum_of_its_rows(monkeypatch):
    clock = Clock(monkeypatch)
    rows = [
        harness.measure(
            Row(name, [Contender(OURS, clock.takes(1), 1)], same, moved=moved, products=False),
            1,
            rates=RATES,
        )
        for name, moved in (("a", 1000), ("b", 3000))
    ]
    found = harness.total("a and b", rows, {})["floor"]
    assert (found["milliseconds"], found["times"]) == (pytest.approx(40), pytest.approx(50))
    rows[0]["floor"] = None
    assert harness.total("a and b", rows, {})["floor"] is None


def test_on_a_gpu_the_first_round_is_warm_up_and_targets_are_left_out(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append(device.type))
    clock = Clock(monkeypatch)
    peers = [Contender(OURS, clock.takes(9, 1), 1), Contender("other", clock.takes(9, 2), 1)]
    row = Row("work", peers, same, targets={"other": 3.0}, warm_up=False, shortfall="hard")
    suite = harness.Suite([row], total="all", targets={"other": 3.0}).without_targets()
    found = harness.measure(suite.rows[0], 1, device=torch.device("cuda"))
    assert found["contenders"][OURS]["seconds"] == [1]
    assert found["ratios"]["other"]["target"] is None and found["ratios"]["other"]["met"] is None
    assert found["shortfall"] == "" and suite.targets == {} and suite.total == "all"
    assert waited == ["cuda"] * 2 * 4


# The rows, on a few images


def measured(suite):
    return [harness.measure(row, 1) for row in suite.rows]


def peers(row):
    # An old package that is not installed with the others.
    assert set(row["missing"]) <= {"imagecorruptions"}
    return set(row["contenders"]) - {OURS}


def test_the_published_nets_load_without_any_data():
    net = published("resnet18-adversarial")
    width = subjects.edition().settings.resnet18.width
    assert not net.training and net.network.conv1.out_channels == width < 64
    digest = subjects.edition().summary("resnet18-adversarial")["weights"]["best"]
    assert records.file_digest(subjects.weights("resnet18-adversarial")) == digest


@pytest.fixture
def patterns(monkeypatch):
    """Small nets that are trained, one of them against attacks, and what they were trained on."""
    nets = {
        "resnet18-standard": train_on_patterns(eps=0, epochs=6),
        "resnet18-adversarial": train_on_patterns(eps=8 / 255, epochs=6),
    }
    monkeypatch.setattr(subjects, "trained", nets.__getitem__)
    monkeypatch.setattr(subjects, "images", lambda n, device: patterned_set(n, seed=5))


def test_pgd_gives_the_same_verdicts(patterns):
    undefended, adversarial = measured(attacks.pgd(40))
    for row in (undefended, adversarial):
        assert peers(row) == {"torchattacks", "foolbox", "foolbox, weights frozen"}
        # Twenty steps and the verdict.
        assert row["contenders"]["torchattacks"]["passes"] == 21
        assert row["contenders"]["foolbox"]["passes"] == 21
    ours = [row["contenders"][OURS]["passes"] for row in (undefended, adversarial)]
    assert 2 < ours[0] < ours[1] < 24
    # The attack decides something.
    assert re.search(r"rslib leaves ([1-9]|[12]\d|3[0-5]) right", adversarial["same"])


def test_autoattack_reaches_no_higher_accuracy(patterns, monkeypatch):
    # A budget that no image survives: one that does takes the package's thousands of queries.
    monkeypatch.setattr(attacks, "THREAT", Threat("linf", 40 / 255))
    monkeypatch.setattr(attacks, "STEP_SIZE", 4 / 255)
    undefended, adversarial = attacks.autoattack(10, 1).rows
    assert "adversarially trained" in adversarial.name and not adversarial.missing
    row = harness.measure(undefended, 1)
    assert peers(row) == {"pyautoattack"}
    assert "rslib leaves 0 right; pyautoattack leaves 0 right" in row["same"]
    assert "worst case of PGD-20" in row["note"]
    assert 2 < row["contenders"][OURS]["passes"] < row["contenders"]["pyautoattack"]["passes"]


def test_corruptions_agree_with_the_plain_ones():
    suite = corruptions.corruptions(6, 4, ["gaussian_noise", "contrast", "zoom_blur"])
    rows = measured(suite)
    # An old package, measured where somebody has installed it.
    others = {"plain"} | ({"imagecorruptions"} if find_spec("imagecorruptions") else set())
    assert all(peers(row) == others for row in rows)
    assert "within one level" in rows[1]["same"] and "random" in rows[0]["same"]
    found = harness.total(suite.total, rows, suite.targets)
    assert set(found["ratios"]) == others


def test_all_corruptions_have_a_row():
    suite = corruptions.corruptions(4, 1)
    assert len(suite.rows) == 19
    # imagecorruptions was not made for 32 pixels.
    told = [row.missing["imagecorruptions"] for row in suite.rows if row.missing]
    assert told and all("fails on 32" in why or "No module named" in why for why in told)


def test_saliency_maps_agree():
    (row,) = measured(saliency.gradcam(6))
    assert peers(row) == {"captum", "pytorch-grad-cam"}
    assert {each["passes"] for each in row["contenders"].values()} == {1}


def test_rollouts_agree():
    alone, large, whole = measured(saliency.rollout(6, 1))
    assert all(peers(row) == {"full product"} for row in (alone, large, whole))
    assert alone["contenders"][OURS]["passes"] is None
    assert whole["contenders"][OURS]["passes"] == 1
    assert "17 tokens" in alone["note"] and "257 tokens" in large["note"]


def test_certificates_agree(monkeypatch):
    monkeypatch.setitem(smoothing.SETTINGS, "n0", 10)
    (row,) = measured(smoothing.smoothing(2, votes=30))
    assert {each["passes"] for each in row["contenders"].values()} == {40}


def test_an_epoch_and_its_batches_agree(monkeypatch):
    monkeypatch.setattr(training, "WORKERS", (0,))
    epoch, batches = measured(training.training(24, 40))
    assert peers(epoch) == peers(batches) == {"DataLoader, 0 workers"}
    assert "mean training loss" in epoch["same"] and "the same images" in batches["same"]


@pytest.fixture
def narrow(monkeypatch):
    """Trainings in bf16 of small nets, whatever the processor."""
    monkeypatch.setattr(training, "WIDTH", 8)
    monkeypatch.setattr(training, "_EPOCHS", 1)
    monkeypatch.setattr(training, "_ACCURACY", 100.0)  # one step teaches nothing to agree on
    monkeypatch.setattr(training, "cpu_has_bf16", lambda: True)


def test_loops_in_bf16_and_fp32_agree(narrow):
    (row,) = measured(training.bf16(24, 24, 30))
    assert peers(row) == {training.FP32, training.BF16}
    assert "mean training loss: rslib" in row["same"]
    assert re.search(r"30 test images of a net of width 8 after 1 epochs: rslib \d", row["same"])
    assert "rslib less plain loop in fp32 " in row["same"]
    # Steps alone are timed: the narrow nets of the check and checkpoints are not in it.
    assert row["ratios"][training.FP32]["target"] == 1.9
    assert row["floor"] is None and row["no_floor"]


def test_without_bf16_instructions_the_row_is_skipped_with_the_reason(monkeypatch, document):
    monkeypatch.setattr(training, "cpu_has_bf16", lambda: False)
    suite = training.bf16(256, 24, 30)
    assert not suite.rows
    document["suites"]["bf16"] = command.measure("bf16", repeats=1, quick=True)
    assert document["suites"]["bf16"]["rows"] == []
    assert (
        "- **full-width ResNet-18 in bf16, 128 training images**: not measured here, since this "
        "processor lacks AVX512_BF16"
    ) in results.markdown(document)


def test_plain_loops_see_the_epochs_that_ours_sees():
    images = subjects.first(20, of="train")
    batches = data.Batches(images, 10, shuffle=True, augment=data.Augment(), seed=3)
    turns = training.InTurn(batches)
    for k in range(2):
        pairs = zip(turns, batches.epoch(k), strict=True)
        assert all(torch.equal(ours.x, theirs.x) for ours, theirs in pairs)
    assert len(turns) == len(batches)


def test_nets_trained_to_other_accuracies_are_refused():
    ours = [True, False] * 500
    told = training.same_accuracies({training.OURS: ours, "p": [False, True] * 500})
    assert "1,000 test images" in told and "rslib less p +0.0 [-6." in told
    with pytest.raises(Disagreement, match=r"rslib less p \+10.0"):
        training.same_accuracies({training.OURS: ours, "p": ours[:800] + [False] * 200})


META = torch.device("meta")


def on_the_device(rows):
    nets = [each.model for row in rows for each in row.contenders if each.model is not None]
    return {weights.device for net in nets for weights in net.parameters()} == {META}


def test_nets_are_set_up_on_the_device():
    """On one without data, which shows where things are."""
    for suite in (
        attacks.pgd(2, device=META),
        attacks.autoattack(2, 1, device=META),
        saliency.rollout(2, 1, device=META),
        smoothing.smoothing(2, device=META),
    ):
        assert on_the_device(suite.rows)
    suite = corruptions.corruptions(2, 1, ["fog"], device=META)
    (ours, plain) = suite.rows[0].contenders[:2]
    assert "on the CPU" in plain.note and plain.run()[0].shape == (1, 32, 32, 3)
    assert ours.run()[0].device == META


def test_scripts_are_told_the_device(monkeypatch):
    called = []
    monkeypatch.setattr(scorecard, "_python", lambda *given: called.append(given) or "0.5")
    cuda = torch.device("cuda")
    script = scorecard._from_shell(2, "shapes", cuda).contenders[1]
    assert script.run() == 0.5 and called[0][-1] == "cuda"
    assert scorecard._settings(2, "shapes", cuda)["device"] == "cuda"


@pytest.mark.parametrize("name", command.OFFERS)
def test_every_row_has_a_floor_or_a_reason_why_not(name):
    there = {"training": {"n": 20, "batches_of": 40}, "bf16": {"n": 20}}
    offer = command.OFFERS[name]
    rows = offer.make(**offer.few | there.get(name, {})).rows
    assert all((row.moved is None) == bool(row.no_floor) for row in rows)


def test_floors_of_the_rows_are_their_passes():
    (row,) = saliency.gradcam(6).rows
    floor = harness.measure(row, 1, rates=RATES)["floor"]
    net = subjects.another(saliency.NET)
    once = floors.operations(lambda: net(torch.zeros(1, 3, 32, 32)))
    # Besides the pass, the head once more to see whether it is linear, and the map's product.
    assert once < floor["operations"] < 1.1 * once
    assert floor["bytes"] == 4 * 32 * 32 * (3 + 1)
    product, _, _ = saliency.rollout(6, 1).rows
    floor = harness.measure(product, 1, rates=RATES)["floor"]
    depth, tokens = 2, 17
    assert floor["operations"] == depth * 2 * tokens * tokens
    assert floor["bytes"] == 4 * (depth * tokens * tokens + tokens)


def test_the_first_number_is_the_scripts():
    called, started = scorecard.scorecard(40, "shapes").rows
    assert peers(harness.measure(called, 1)) == {"plain script"}
    started = harness.measure(started, 1)
    assert peers(started) == {"plain script"}
    assert started["contenders"][OURS]["passes"] is None


# What the checks refuse


@pytest.fixture
def batch():
    x, y = subjects.images(20)
    wrong = Attacked(x, torch.zeros(20, dtype=torch.bool))
    return x, y, wrong


def test_an_attack_outside_the_threat_model_is_refused(batch):
    x, y, _ = batch
    x = x.clone()
    x[0, 0, 0, 0] = 0
    further = (x + 9 / 255).clamp(0, 1)
    right = attacks.right(subjects.trained("resnet18-adversarial"), further, y)
    with pytest.raises(Disagreement, match="rslib leaves the threat model: further"):
        attacks.same_threat("resnet18-adversarial", x, y, {OURS: Attacked(further, right)})
    with pytest.raises(Disagreement, match=r"outside \[0, 1\]"):
        attacks.same_threat("resnet18-adversarial", x, y, {OURS: Attacked(x - 1 / 255, right)})


def test_a_verdict_that_is_not_the_nets_is_refused(batch):
    x, y, wrong = batch  # the net is right on all of them
    with pytest.raises(Disagreement, match="for 20 images the net does not"):
        attacks.same_threat("resnet18-adversarial", x, y, {OURS: wrong})


def verdicts(n, broken):
    robust = torch.ones(n, dtype=torch.bool)
    robust[list(broken)] = False
    return Attacked(torch.zeros(n, 3, 2, 2), robust)


def test_an_attack_weaker_than_its_peer_is_refused():
    theirs = verdicts(400, range(10))
    told = attacks.no_weaker({OURS: verdicts(400, range(15)), "p": theirs})
    assert (
        told
        == "rslib leaves 385 right; p leaves 390 right (0 broken by it alone, 5 by rslib alone)"
    )
    # Seven more of theirs and none of ours: 1 in 128 by chance.
    with pytest.raises(Disagreement, match="weaker than p's"):
        attacks.no_weaker({OURS: verdicts(400, range(3)), "p": theirs})
    with pytest.raises(Disagreement, match="differ on 21 images"):
        attacks.no_weaker({OURS: verdicts(400, range(31)), "p": theirs})
    # Where starts decide, it goes both ways.
    attacks.no_weaker({OURS: verdicts(400, range(4, 14)), "p": theirs})


def test_a_higher_robust_accuracy_is_refused():
    attacks.no_higher({OURS: verdicts(10, [1]), "p": verdicts(10, [2])})
    with pytest.raises(Disagreement, match="rslib leaves 9 right; p leaves 8"):
        attacks.no_higher({OURS: verdicts(10, [1]), "p": verdicts(10, [1, 2])})


def test_pixels_that_are_not_plains_are_refused():
    clean = np.full((2, 32, 32, 3), 100, np.uint8)
    made = np.stack([clean + 20] * 5)
    assert "100.00%" in corruptions.same_pixels("contrast", made + 1, made, clean)
    with pytest.raises(Disagreement, match="contrast: only 0.0%"):
        corruptions.same_pixels("contrast", made + 2, made, clean)
    assert "22.0 levels, plain's by 20.0" in corruptions.same_pixels("snow", made + 2, made, clean)
    with pytest.raises(Disagreement, match="snow: pixels move by 30.0"):
        corruptions.same_pixels("snow", made + 10, made, clean)


def test_maps_that_differ_are_refused():
    maps = torch.rand(2, 4, 4)
    # A factor is lost where maps are made to span 0 to 1.
    saliency.same_maps({OURS: maps, "p": 3 * maps})
    with pytest.raises(Disagreement, match="maps of p differ"):
        saliency.same_maps({OURS: maps, "p": maps.flip(2)})
    with pytest.raises(Disagreement, match="rows of p differ by nan"):
        saliency.same_rows({OURS: maps[0], "p": maps[0] * float("nan")})
    with pytest.raises(Disagreement, match="rows of p have shape"):
        saliency.same_rows({OURS: maps[0], "p": maps[0, :2]})


def certified(counts, *, candidate=3, radius=None):
    from rslib import smoothing as ours

    settings = {"sigma": 0.25, "n0": 10, "n": 1000, "alpha": 0.001}
    radii = [ours.radius(k, 1000, sigma=0.25, alpha=0.001) for k in counts]
    radii = torch.tensor(radii if radius is None else [radius] * len(counts))
    classes = torch.full((len(counts),), candidate)
    return Certificates(torch.where(radii > 0, classes, -1), radii, classes, torch.tensor(counts),
                        **settings)  # fmt: skip


def test_certificates_that_noise_does_not_explain_are_refused():
    assert "1 of 2 images" in same_certificates(
        {OURS: certified([900, 510]), "p": certified([910, 500])}
    )
    with pytest.raises(Disagreement, match="standard deviations apart"):
        same_certificates({OURS: certified([900]), "p": certified([990])})
    with pytest.raises(Disagreement, match="classes differ"):
        same_certificates({OURS: certified([900]), "p": certified([900], candidate=4)})
    with pytest.raises(Disagreement, match="900 votes give radii"):
        same_certificates({OURS: certified([900]), "p": certified([900], radius=0.4)})


def test_other_losses_images_and_accuracies_are_refused():
    with pytest.raises(Disagreement, match="training loss"):
        training.same_loss({OURS: 2.0, "p": 2.3})
    seen = training.Seen(4, 0.5, [2, 2])
    for other in (training.Seen(4, 0.5, [1, 3]), training.Seen(4, 0.52, [2, 2])):
        with pytest.raises(Disagreement):
            training.same_images({OURS: seen, "p": other})
    with pytest.raises(Disagreement, match="50.00%, p 50.10%"):
        scorecard.same_accuracy({OURS: 0.5, "p": 0.501})


# Storage and the command line


MACHINE = {
    "device": "CPU, 1 thread",
    "processor": "x86_64",
    "vector_instructions": "AVX2",
    "cores": 2,
    "python": "3.11.7",
    "versions": {"torch": "2.0", "captum": "0.9"},
}


@pytest.fixture
def document(monkeypatch):
    """Two suites with rows of known ratios: one target met, one missed, one peer missing."""
    clock = Clock(monkeypatch)

    def row(name, seconds, **options):
        peers = [Contender(OURS, clock.takes(2), 2), Contender("peer", clock.takes(seconds), 1)]
        return harness.measure(Row(name, peers, same, **options), 2)

    def suite(rows, details=()):
        about = {"revision": "abc", "date": "2026-01-02T03:04:05+00:00"}
        return {"provenance": about, "repeats": 2, "sizes": {}, "rates": None, "rows": rows,
                "details": list(details)}  # fmt: skip

    first = row("first work", 8, targets={"peer": 5.0}, missing={"absent": "not measured: gone"})
    second = row("second work", 3, targets={"peer": 4.0}, shortfall="it is hard")
    return {
        "machine": MACHINE,
        "quick": False,
        "suites": {"pgd": suite([first]), "gradcam": suite([second], [row("a part", 4)])},
    }


def test_rows_are_stored_and_the_others_kept(tmp_path, document):
    results.store(results.path(tmp_path), document, command.OFFERS)
    again = results.open_document(results.path(tmp_path), MACHINE, ["pgd"], False)
    assert again == document
    again["suites"] = {"gradcam": again["suites"]["gradcam"], "pgd": again["suites"]["pgd"]}
    results.store(results.path(tmp_path), again, command.OFFERS)
    assert list(results.read_json(tmp_path / "cpu.json")["suites"]) == ["pgd", "gradcam"]
    assert (tmp_path / "cpu.md").read_text() == results.markdown(document)


def test_each_device_has_files_of_its_own(tmp_path, document):
    results.store(results.path(tmp_path, "cuda"), document, command.OFFERS)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cuda.json", "cuda.md"]
    assert results.path(tmp_path, "cpu") == results.path(tmp_path) == tmp_path / "cpu.json"


def test_rows_of_other_conditions_are_not_mixed(tmp_path, document):
    results.store(results.path(tmp_path), document, command.OFFERS)
    other = copy.deepcopy(MACHINE)
    other["versions"]["torch"] = "3.0"
    with pytest.raises(results.OtherConditions, match=r"gradcam.*torch: 2.0, now 3.0.*--out"):
        results.open_document(results.path(tmp_path), other, ["pgd"], False)
    with pytest.raises(results.OtherConditions, match="quick: False, now True"):
        results.open_document(results.path(tmp_path), MACHINE, ["pgd"], True)
    # Nothing would stay: measured anew.
    assert (
        results.open_document(results.path(tmp_path), other, ["pgd", "gradcam"], False)["suites"]
        == {}
    )


def test_the_table_says_what_was_measured(document):
    text = results.markdown(document)
    assert "| first work | peer | 1.00 s [1.00, 1.00] | 8.00 s" in text
    assert "**8.00×** [8.00, 8.00] | 5×, met |" in text
    assert "| first work | absent |" in text and "not measured: gone" in text
    assert "4×, missed" in text and "Target missed: it is hard." in text
    assert "## second work, one by one" in text and "| a part | peer |" in text
    assert "torch 2.0, captum 0.9" in text and "revision abc, 2026-01-02" in text


def with_floors(document):
    """The same, as of a device that does 50 operations and moves 5 bytes in a nanosecond."""
    document = copy.deepcopy(document)
    for suite in document["suites"].values():
        suite["rates"] = {"operations": 50e9, "bytes": 5e9}
        for row in suite["rows"]:
            row["floor"] = floors.floor(2e10, 1e3, Rates(**suite["rates"])) | {"times": 2.5}
    return document


def test_the_table_has_floors_where_they_were_measured(document):
    text = results.markdown(with_floors(document))
    assert "large float32 matrix product on the same device and threads, 50.0 GFLOP" in text
    assert "copy, 5.00 GB a second" in text
    assert "| floor | rslib / floor |" in text and "5×, met | 400 ms | 2.50× |" in text
    # Its details have none.
    assert (
        "| a part | peer | 1.00 s [1.00, 1.00] | 4.00 s [4.00, 4.00] | **4.00×** [4.00, 4.00] |\n"
        in text
    )


def test_rows_stored_before_there_were_floors_are_shown_without(document):
    for row in results.rows(document):
        del row["floor"], row["no_floor"]
    del document["suites"]["pgd"]["rates"]
    text = results.markdown(document)
    assert "floor" not in text and "5×, met |" in text


def test_rates_of_several_days_are_told_from_the_lowest_to_the_highest(document):
    document = with_floors(document)
    document["suites"]["pgd"]["rates"] = {"operations": 2e12, "bytes": 3e12}
    said = results.floors(document)
    assert "50.0 to 2,000 GFLOP a second" in said and "5.00 to 3,000 GB a second" in said


def test_short_times_are_told_in_their_unit():
    told = [results.cost({"milliseconds": dict.fromkeys(("median", "low", "high"), each)})
            for each in (2500, 12.3, 0.0456)]  # fmt: skip
    assert told == ["2.50 s [2.50, 2.50]", "12.3 ms [12.3, 12.3]", "45.6 µs [45.6, 45.6]"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pdg"], "there is no benchmark 'pdg': pgd, autoattack.*did you mean 'pgd'"),
        (["pgd", "everything"], "there is no benchmark 'everything'"),
    ],
)
def test_the_command_refuses_names_it_does_not_know(arguments, said, capsys, tmp_path):
    assert command.main([*arguments, "--out", str(tmp_path)]) == 1
    assert re.search(said, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--repeats", "--threads"])
def test_the_command_refuses_numbers_that_cannot_be_meant(option, capsys):
    with pytest.raises(SystemExit):
        command.main(["pgd", option, "0"])
    assert "at least 1" in capsys.readouterr().err


def test_the_command_runs_on_a_cpu_unless_told_otherwise(capsys):
    assert command.parser().parse_args([]).device == "cpu"
    assert command.parser().parse_args(["pgd", "--device", "cuda"]).device == "cuda"
    with pytest.raises(SystemExit):
        command.parser().parse_args(["--device", "tpu"])
    assert "cuda" in capsys.readouterr().err


def test_without_a_gpu_the_command_says_so_and_writes_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main(["pgd", "--device", "cuda", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "--device cuda: PyTorch" in said and "finds no such device here" in said
    assert "leaving --device away" in said
    assert list(tmp_path.iterdir()) == []


def test_on_a_gpu_the_command_stores_a_table_of_its_own(monkeypatch, tmp_path):
    cuda, made = torch.device("cuda"), []

    def suite(n, *, device):
        made.append(device)
        peers = [Contender(OURS, lambda: 1, 1), Contender("peer", lambda: 1, 1)]
        return harness.Suite([Row("work", peers, same, targets={"peer": 1.5}, moved=8)])

    monkeypatch.setattr(command, "use_threads", lambda n: None)
    monkeypatch.setattr(command, "pick", torch.device)
    monkeypatch.setattr(command.rates, "measure", lambda device: made.append(device) or RATES)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    offer = command.Offer("some work", suite, {"n": 2}, {"n": 1})
    monkeypatch.setitem(command.OFFERS, "pgd", offer)
    assert command.main(["pgd", "--device", "cuda", "--out", str(tmp_path)]) == 0
    assert made == [cuda, cuda]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cuda.json", "cuda.md"]
    stored = results.read_json(tmp_path / "cuda.json")
    assert stored["machine"]["device"] == "a GPU"
    assert stored["suites"]["pgd"]["provenance"]["device"] == "a GPU"
    assert stored["suites"]["pgd"]["rates"] == {"operations": 1e6, "bytes": 1e5}
    (row,) = results.rows(stored)
    assert row["ratios"]["peer"]["target"] is None
    assert row["floor"]["milliseconds"] == pytest.approx(0.08)
    assert "target" not in (tmp_path / "cuda.md").read_text()


def test_without_the_images_the_command_says_where_they_come_from(monkeypatch, capsys, tmp_path):
    def absent(name):
        raise DataError("no CIFAR-10 here. Set RSLIB_DATA")

    monkeypatch.setattr(subjects, "split", absent)
    monkeypatch.setattr(command, "use_threads", lambda n: None)
    assert command.main(["pgd", "--out", str(tmp_path)]) == 1
    assert "Set RSLIB_DATA" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_measures_prints_and_stores(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "use_threads", lambda n: None)
    monkeypatch.setattr(command.rates, "measure", lambda device: RATES)
    assert command.main(["gradcam", "--quick", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Grad-CAM of the last layer" in said and "A quick look" in said
    stored = results.read_json(tmp_path / "cpu.json")
    assert list(stored["suites"]) == ["gradcam"] and stored["quick"] is True
    assert stored["suites"]["gradcam"]["provenance"]["torch"] == torch.__version__
    assert results.rows(stored)[0]["floor"]["times"] > 0 and "rslib / floor" in said


def test_a_disagreement_ends_the_command_with_the_rows_name(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "use_threads", lambda n: None)
    monkeypatch.setattr(command.rates, "measure", lambda device: RATES)
    monkeypatch.setattr(saliency, "_MAPS", -1.0)
    assert command.main(["gradcam", "--quick", "--out", str(tmp_path)]) == 1
    assert "Grad-CAM of the last layer: maps of captum differ" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# The stages of a published run


def stage(model, work, seconds, operations):
    architecture = model.partition("-")[0]
    told = {"model": model, "architecture": architecture, "shortcut": False}
    return told | {"work": work, "seconds": seconds, "operations": operations}


def test_stages_are_summed_and_rated_by_hand():
    report = {
        "profile": "fast",
        "device": "a GPU",
        "stages": [
            stage("resnet18-standard", "training", 100.0, 5e15),
            stage("resnet18-standard", "pgd", 2.0, 1e14),
            stage("resnet18-adversarial", "pgd", 8.0, 3e14),
            stage("resnet18-standard", "autoattack", 50.0, None),
        ],
    }
    text = stages.markdown(report)
    assert "| ResNet-18, standard | 100 | 5.00 | 50 |" in text
    assert "| PGD, ResNet-18 | 2 | 10 | 0.40 | 40 |" in text
    assert "| AutoAttack, ResNet-18 | 1 | 50 |  |  |" in text
    assert "take 3 minutes at most" in text
    assert stages.describe(report).endswith("training 100; AutoAttack 50; PGD 10.")
    (axis,) = stages.figure(report).axes
    assert [bar.get_width() for bar in axis.patches] == [100, 50, 10]


def test_the_stored_stages_are_those_of_the_published_records():
    from rslib.run.published import find

    stored = records.read_json(results.RESULTS / stages.FILE)
    run = find(stored["profile"])
    again = stages.collect(run)
    assert again == stored
    (trained,) = [
        each
        for each in again["stages"]
        if (each["model"], each["work"], each["shortcut"])
        == ("resnet18-adversarial", "training", False)
    ]
    section, once = run.settings.training.adversarial, stages.forward_operations(run, "resnet18")
    passes = 3 + section.probability * section.steps * 2
    assert trained["operations"] == 48_000 * section.resnet18.epochs * passes * once


@pytest.mark.parametrize("profile", ["paper", "fats"])
@pytest.mark.parametrize(
    "command", [stages.main, lambda given: foreseen.main(["cpu", "--of", *given])]
)
def test_nothing_is_stored_of_an_edition_that_is_not_published(
    command, profile, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert command([profile]) == 2
    said = capsys.readouterr().err
    assert f"no edition {profile} is published; there are: cpu, fast" in said
    assert not list(tmp_path.iterdir())


# The page


def test_the_page_says_what_the_results_say(tmp_path, document):
    results.store(results.path(tmp_path), document, command.OFFERS)
    text = page.text(tmp_path)
    assert "Of 2 targets, 1 are met." in text
    assert "Missed: second work, beside peer, at **3.00×** [3.00, 3.00] of 4×." in text
    assert results.table(results.rows(document)) in text
    assert "(../_static/speed.png)" in text and "first work, beside peer 8;" in text
    assert "speed-growth" not in text
    # What has not been measured is named with what measures it.
    assert "(`python -m benchmarks bf16`)" in text and "benchmarks pgd`)" not in text
    assert (
        "## Which recipe trains better\n\nNot measured yet: `python -m benchmarks.recipes`" in text
    )


def test_the_page_has_a_section_for_a_gpu_that_was_measured(tmp_path, document):
    results.store(results.path(tmp_path), document, command.OFFERS)
    assert "The same on" not in page.text(tmp_path)
    gpu = with_floors(document)
    gpu["machine"] = MACHINE | {"device": "NVIDIA H100"}
    results.store(results.path(tmp_path, "cuda"), gpu, command.OFFERS)
    text = page.text(tmp_path)
    before, after = text.split("## The same on NVIDIA H100")
    assert results.table(results.rows(document)) in before and "A floor is" not in before
    assert results.conditions(gpu) in after and results.floors(gpu) in after
    assert results.table(results.rows(gpu)) in after
    assert "### One by one: second work" in after
    # Verdict and figure are the CPU's alone.
    assert text.count("Of 2 targets") == text.count("speed.png") == 1


def test_the_page_and_its_figure_are_written(tmp_path, document):
    results.store(results.path(tmp_path / "results"), document, command.OFFERS)
    page.write(tmp_path / "results", tmp_path)
    assert (tmp_path / "book/pages/speed.md").read_text() == page.text(tmp_path / "results")
    assert (tmp_path / "book/_static/speed.png").read_bytes().startswith(b"\x89PNG")


def test_a_section_with_nothing_to_draw_has_no_figure(tmp_path, document):
    results.store(results.path(tmp_path / "results"), document, command.OFFERS)
    bare = {"rows": recipes.summarize([]), "machine": MACHINE}
    records.write_json(tmp_path / "results" / recipes.FILE, bare)
    page.write(tmp_path / "results", tmp_path)
    assert not (tmp_path / "book/_static/speed-recipes.png").exists()
    text = (tmp_path / "book/pages/speed.md").read_text()
    assert "speed-recipes" not in text and "| AdamW | not measured yet |" in text


def test_a_page_without_results_says_how_to_get_them(tmp_path):
    with pytest.raises(
        records.RecordError, match=r"cpu.json is missing: measure first, make bench"
    ):
        page.text(tmp_path)


def test_the_figure_marks_targets_met_and_missed(document):
    (axis,) = page.figure(document).axes
    dots = [line for line in axis.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in dots] == [8.0, 3.0]
    assert [line.get_color() for line in dots] == [page.style.BLUE, page.style.VERMILION]
    assert axis.get_xscale() == "log"


def test_the_books_page_is_that_of_the_stored_results():
    assert (page.PROJECT / page.PAGE).read_text() == page.text(results.RESULTS)
    stored = results.read_json(results.path(results.RESULTS))
    assert stored["quick"] is False
    assert (results.RESULTS / "cpu.md").read_text() == results.markdown(stored)
    assert list(stored["suites"]) == [name for name in command.OFFERS if name in stored["suites"]]
    assert (page.PROJECT / page.FIGURES / "speed.png").exists()
