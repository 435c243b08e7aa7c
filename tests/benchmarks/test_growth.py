"""Exponents and slopes of known curves, what a report says of made-up cells, and one real cell."""

import dataclasses

import numpy as np
import pytest
import torch

from benchmarks.growth import describe, figure, fits, imagenet, markdown, plan, report, work
from benchmarks.growth.work import Work

SIZES = [10, 100, 1000]
IMAGE = 4 * 32 * 32  # its pixels and its mask
MACHINE = {
    "device": "CPU, 2 threads",
    "processor": "x86_64",
    "vector_instructions": "AVX2",
    "cores": 2,
    "threads": 2,
    "python": "3.11",
    "versions": {"torch": "2.0"},
}


def rounds(values, scatter=0.0, count=3):
    """Each value as often as there are rounds, scattered by a share of itself."""
    drawn = np.random.default_rng(0).normal(size=(len(values), count))
    return [[v * np.exp(scatter * d) for d in row] for v, row in zip(values, drawn, strict=True)]


@pytest.mark.parametrize("power", [-0.5, 0.0, 1.0, 2.5])
def test_a_power_law_gives_its_exponent(power):
    found = fits.exponent(SIZES, rounds([3 * size**power for size in SIZES]))
    assert [found[key] for key in ("value", "low", "high", "last")] == pytest.approx([power] * 4)


def test_the_interval_of_a_noisy_power_law_holds_its_exponent():
    found = fits.exponent(SIZES, rounds([size**1.5 for size in SIZES], scatter=0.1))
    assert found["low"] < 1.5 < found["high"]
    assert 0.02 < found["high"] - found["low"] < 0.3


def test_the_interval_is_students():
    # Logs 0, 1, 2 against 0, 1, 3: slope 3/2, residuals 1/6, -1/3, 1/6, standard error 1/sqrt(12),
    # and with one degree of freedom Student's quantile is tan(0.475 pi).
    found = fits.exponent([1, np.e, np.e**2], [[1.0], [np.e], [np.e**3]])
    reach = np.tan(0.475 * np.pi) / np.sqrt(12)
    assert found["value"] == pytest.approx(1.5)
    assert found["high"] - found["value"] == pytest.approx(reach)
    assert found["last"] == pytest.approx(2)


def test_fixed_costs_bend_the_curve_and_the_last_exponent_leaves_them_behind():
    found = fits.exponent(SIZES, rounds([50 + size for size in SIZES]))
    assert found["value"] < found["last"] < 1


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ValueError, match="positive"):
        fits.exponent(SIZES, [[1.0], [0.0], [2.0]])
    with pytest.raises(ValueError, match="2 points"):
        fits.slope([1, 2], [[1.0], [2.0]])


@pytest.mark.parametrize(
    ("kept", "growth"), [(0.0, "less"), (0.2, "less"), (3.0, "more"), (12.0, "more")]
)
def test_memory_is_compared_with_the_images_own(kept, growth):
    """The data, a batch of 16 in flight, and so many further copies of every image."""
    peaks = [size * IMAGE * (1 + kept) + 16 * 50_000 for size in SIZES]
    slope = fits.slope(SIZES, rounds(peaks))
    found = fits.memory(slope, {"value": 50_000.0}, IMAGE, 40)
    assert found["beyond"]["value"] == pytest.approx(kept * IMAGE, abs=1e-3)
    assert found["share"] == pytest.approx(kept * IMAGE / 50_000, abs=1e-6)
    assert found["growth"] == growth


def test_noise_that_hides_an_images_size_settles_nothing():
    slope = fits.slope(SIZES, [[1e6, 9e6], [9e6, 1e6], [1e6, 9e6 + 1000 * 2 * IMAGE]])
    assert fits.memory(slope, None, IMAGE, 40)["growth"] == "open"


def test_passes_of_the_paper():
    assert imagenet.passes("pgd", imagenet.PAPER) == (5, 20)
    assert imagenet.passes("smoothing", imagenet.PAPER) == (1100, 0)
    assert imagenet.passes("corruptions", imagenet.PAPER) == (95, 0)
    # APGD 101 gradients for itself and for nine targets, FAB 100 for nine targets.
    assert imagenet.passes("autoattack", imagenet.PAPER)[1] == 10 * 101 + 9 * 100
    with pytest.raises(ValueError, match="clean, pgd"):
        imagenet.passes("fgsm", imagenet.PAPER)


def test_operations_are_those_of_the_layers():
    # ResNet-50 at 224 pixels: 4.09 G multiplications with additions; its gradient as many again.
    forward, both = imagenet.flop("resnet50", side=224, classes=1000)
    assert forward == pytest.approx(2 * 4.09e9, rel=0.01)
    assert both == pytest.approx(2 * forward, rel=0.01)
    small, _ = imagenet.flop("resnet18", side=32, classes=10)
    large, _ = imagenet.flop("resnet18", side=64, classes=10)
    assert large / small == pytest.approx(4, rel=0.01)


@pytest.fixture(scope="module")
def made_up():
    """A report of cells in which each pass takes a microsecond for each MFLOP of the net."""
    measured = {}
    for _, each in plan.schedule(plan.SERIES, 1):
        forward, gradient = passes_of(each)
        costs = imagenet.flop(each.net, side=each.side, classes=each.classes)
        seconds = 1e-12 * (forward * costs[0] + gradient * costs[1]) * each.images * each.models
        grown = 3 if each.kind == "clean" and each.classes == 1000 else 0
        flying = min(each.batch, each.images) * 12 * each.side**2 * 10
        measured[plan.name(each)] = [
            {
                "seconds": seconds * factor,
                "peak": each.images * 4 * each.side**2 * (1 + grown) + flying,
                "data": each.images * 4 * each.side**2,
                "rows": each.images * 40,
                "forward": forward * each.images * each.models,
                "gradient": gradient * each.images * each.models,
            }
            for factor in (0.99, 1.0, 1.01)
        ]
    return report.assemble(plan.SERIES, measured, MACHINE, quick=False)


def passes_of(each):
    here = dataclasses.replace(imagenet.HERE, samples=each.samples)
    match each.kind:
        case "forward":
            return 1, 0
        case "gradient":
            return 0, 1
        case "votes":
            return imagenet.passes("smoothing", here)
    return imagenet.passes(each.kind, here)


def test_a_report_finds_what_was_put_in(made_up):
    assert report.find(made_up, "images", "pgd")["time"]["value"] == pytest.approx(1)
    assert report.find(made_up, "models", "corruptions")["time"]["value"] == pytest.approx(1)
    # Half the votes choose the class: they do not grow with the samples.
    assert report.find(made_up, "samples", "smoothing")["time"]["value"] < 1
    assert report.find(made_up, "side", "clean")["time"]["value"] == pytest.approx(2, abs=0.01)
    assert report.find(made_up, "side", "clean", "vit_small")["time"]["value"] > 2.2
    assert report.find(made_up, "batch", "pgd")["time"]["value"] == pytest.approx(0, abs=1e-6)
    for each in made_up["series"]:
        assert each["operations"] == pytest.approx(each["time"]["value"], abs=0.01)
    growth = {(e["kind"], e["classes"]): e["growth"] for e in made_up["memory"]}
    assert growth.pop(("clean", 1000)) == "more"
    assert set(growth.values()) == {"less"}
    with pytest.raises(KeyError, match="no series of pgd over models"):
        report.find(made_up, "models", "pgd")


def test_checks_agree_where_time_is_all_passes(made_up):
    for check in made_up["checks"].values():
        assert check["counted"] == check["expected"]
        assert check["explained"] == pytest.approx(1)


def test_the_projection_is_passes_times_their_cost(made_up):
    net = made_up["projection"]["nets"]["resnet50"]
    forward, gradient = net["passes"]["forward"], net["passes"]["gradient"]
    assert forward["rate"] == pytest.approx(1e12)
    found = net["workloads"]["pgd"]
    flop = 50_000 * (5 * forward["flop"] + 20 * gradient["flop"])
    assert found["flop"] == pytest.approx(flop)
    assert found["here"] == pytest.approx(flop / 1e12)
    assert found["h100"]["TF32"] == pytest.approx(flop / (77e12 * 1.8 * 495 / 989))
    assert found["h100"]["fp32"] == pytest.approx(found["h100"]["TF32"] * 495 / 67)
    images = 50_000 * 3 * 224**2
    assert net["memory"] == pytest.approx(images + 250 * 12 * 224**2 * 10)


def test_the_page_says_what_the_report_holds(made_up):
    text = markdown(made_up)
    assert text.startswith("## ")
    assert "| images | PGD | 64, 256, 1,024 |" in text
    assert "1.00 [0.99, 1.01]" in text
    assert "grows with the data set by more than the images' own size for Clean, 1,000 classes" in (
        text
    )
    assert "8 models take 8.0 times as long as 1." in text
    assert "A projection, not a measurement." in text
    columns = {}
    for line in text.splitlines():
        if line.startswith("|"):
            columns.setdefault(line.count("|"), []).append(line)
    assert min(map(len, columns.values())) > 2, "a row with more or fewer cells than its head"
    changed = markdown(made_up | {"quick": True})
    assert "a try with a quarter of the images" in changed
    assert "a try" not in text


def test_the_figure_has_a_panel_for_each_size_and_its_slopes(made_up):
    drawn = figure(made_up)
    labels = [axis.get_xlabel().lower() for axis in drawn.axes]
    assert (
        len(labels) == 9 and labels[0] == "images" and labels[6:8] == ["images", "images a batch"]
    )
    assert all(axis.get_xscale() == axis.get_yscale() == "log" for axis in drawn.axes)
    assert "PGD 1.00" in [text.get_text() for text in drawn.axes[0].texts]
    points = next(line for line in drawn.axes[0].lines if line.get_label() == "PGD")
    cells = report.find(made_up, "images", "pgd")["cells"]
    assert list(points.get_ydata()) == [cell["median"] for cell in cells]
    spoken = describe(made_up)
    assert "over images: Clean 1.00" in spoken and "Clean, 1,000 classes" in spoken


def test_a_net_that_is_sure_is_never_fooled():
    net = work.build("resnet18", side=32, classes=10)
    images = work.dataset(Work("pgd", images=4))
    logits = net(images.images.float() / 255)
    others = logits[:, 1:].max(1).values
    assert (logits[:, 0] - others > 20).all() and (images.labels == 0).all()


@pytest.mark.parametrize("kind", ["clean", "pgd", "smoothing", "votes", "corruptions", "saliency"])
def test_a_cell_makes_the_passes_that_the_projection_counts_on(kind):
    small = Work(kind, images=4, batch=2)
    found = work.measure(small)
    forward, gradient = passes_of(small)
    # The layer that Grad-CAM looks at is found by the pass of one image a batch.
    extra = 2 if kind == "saliency" else 0
    assert found["forward"] == 4 * forward + extra
    assert found["gradient"] == 4 * gradient
    assert found["data"] == 4 * IMAGE and found["rows"] > 0 and found["seconds"] > 0


def test_autoattack_makes_the_passes_that_the_projection_counts_on():
    found = work.measure(Work("autoattack", images=2, batch=2))
    wanted = imagenet.passes("autoattack", imagenet.HERE)
    assert (found["forward"] / 2, found["gradient"] / 2) == wanted


def test_more_models_make_more_passes_and_rows():
    found = work.measure(Work("corruptions", images=2, batch=2, models=2))
    assert found["forward"] == 2 * 2 * imagenet.passes("corruptions", imagenet.HERE)[0]


def test_an_interrupted_run_goes_on_after_its_last_cell(tmp_path, monkeypatch):
    series = [plan.Series("images", Work("forward", batch=2), (1, 2, 3))]
    monkeypatch.setattr(plan, "BARE", ())
    path = tmp_path / "cells.json"
    told = []

    def stop(line):
        told.append(line)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan.measured(series, 2, path, MACHINE, progress=stop)
    again = []
    found = plan.measured(series, 2, path, MACHINE, progress=again.append)
    assert again[0].startswith("3/6 kind=forward") and len(again) == 4
    assert [len(each) for each in found.values()] == [2, 2, 2]
    assert [found[plan.name(each)][0]["forward"] for each in series[0].works()] == [1, 2, 3]
    elsewhere = []
    plan.measured(series, 1, path, MACHINE | {"cores": 64}, progress=elsewhere.append)
    assert len(elsewhere) == 3, "cells of another machine are measured again"


def held(megabytes):
    """What a gauge shows of memory that is held for a moment."""
    gauge = work.Gauge(torch.device("cpu"))
    torch.ones(megabytes << 18).sum()
    return gauge.above() / 2**20


def test_a_fresh_process_sees_its_own_memory_only():
    with plan.fresh_processes() as fresh:
        large, small = (fresh.submit(held, size).result() for size in (96, 24))
    assert 96 <= large < 112
    assert 24 <= small < 40, "the second process has inherited the first one's highest level"
