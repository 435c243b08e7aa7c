import shutil

import pandas as pd
import pytest
import torch

from rslib import data, models, smoothing, training
from rslib.corruptions import cifar10c
from rslib.run import Run, trainer
from rslib.settings import load
from rslib.store import records
from rslib.store.records import RecordError

NAME = "resnet18-standard"


def test_a_model_is_trained_once_and_then_loaded(tiny_run, monkeypatch):
    first = tiny_run().trained(NAME)
    monkeypatch.setattr("rslib.training.fit", lambda *a, **k: pytest.fail("trained again"))
    again = tiny_run().trained(NAME)
    assert not again.training
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_the_summary_says_what_was_trained(tiny_run):
    run = tiny_run()
    run.trained(NAME)
    summary = run.summary(NAME)
    accuracies = [row["validation_accuracy"] for row in summary["history"]]
    assert len(accuracies) == 3
    assert accuracies[summary["best_epoch"] - 1] == max(accuracies)
    assert summary["parameters"] == models.count_parameters(run.build(NAME))
    assert summary["train_images"] == 120
    assert summary["seconds"] == pytest.approx(sum(r["seconds"] for r in summary["history"]))
    folder = run.model_folder(NAME)
    assert sorted(p.name for p in folder.iterdir()) == [
        "best.safetensors", "last.safetensors", "model.json",
    ]  # fmt: skip


def test_the_clean_record_agrees_with_a_plain_loop(tiny_run):
    run = tiny_run()
    frame = run.evaluate(NAME, "clean")
    test = run.data("test")
    assert frame.image.tolist() == test.ids.tolist()
    model = run.trained(NAME)
    with torch.no_grad():
        logits = model(test.images.float() / 255)
    probabilities = logits.softmax(1)
    assert frame.prediction.tolist() == logits.argmax(1).tolist()
    assert frame.correct.tolist() == (logits.argmax(1) == test.labels).tolist()
    stored = torch.tensor(frame[[f"p{c}" for c in range(10)]].to_numpy())
    torch.testing.assert_close(stored, probabilities, atol=1e-5, rtol=1e-4)
    nll = -probabilities[torch.arange(len(test)), test.labels].log()
    torch.testing.assert_close(torch.tensor(frame.loss.to_numpy()), nll, atol=1e-4, rtol=1e-3)
    assert frame.attrs["n"] == len(frame) == 60


@pytest.mark.slow
def test_attack_records_hold_the_threat_model_and_the_order_of_strength(tiny_run):
    run = tiny_run()
    clean = run.evaluate(NAME, "clean").set_index("image")
    fgsm = run.evaluate(NAME, "fgsm").set_index("image")
    pgd = run.evaluate(NAME, "pgd").set_index("image")
    assert (len(fgsm), len(pgd)) == (60, 20)
    for frame in (fgsm, pgd):
        assert frame.distance.max() <= run.settings.pgd.eps_unit + 1e-5
        assert (frame.clean_correct == clean.correct.loc[frame.index]).all()
        assert not (frame.correct & ~frame.clean_correct).any()
    assert not (pgd.correct & ~pgd.correct_last).any()


@pytest.mark.slow
def test_other_settings_make_other_records_beside_the_first(tiny_run):
    tiny_run().evaluate(NAME, "pgd")
    changed = tiny_run({"pgd": {"steps": 2}})
    with pytest.raises(RecordError, match=r"no pgd record.*there are, made with other settings"):
        changed.record(NAME, "pgd")
    changed.evaluate(NAME, "pgd")
    folder = changed.directory / "records" / NAME
    assert len(list(folder.glob("pgd-*.parquet"))) == 2
    assert len(list((changed.directory / "models").iterdir())) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"resnet18": {"width": 12}},
        {"training": {"standard": {"resnet18": {"epochs": 2}}}},
        {"data": {"train_size": 110}},
        {"data": {"background_correlation": 0.5}},
    ],
)
def test_what_decides_the_weights_is_in_the_models_key(tiny_run, changed):
    assert tiny_run().model_folder(NAME) != tiny_run(changed).model_folder(NAME)


@pytest.mark.parametrize(
    "changed",
    [{"data": {"test_size": 50}}, {"pgd": {"n": 10}}, {"vit_small": {"depth": 2}}],
)
def test_what_does_not_is_not(tiny_run, changed):
    assert tiny_run().model_folder(NAME) == tiny_run(changed).model_folder(NAME)


def test_keys_of_the_papers_models_do_not_drift():
    # A setting added at a default that changes nothing must not make published results stale.
    run = Run(load("paper", {"data": {"validation_size": 2000}}))
    assert run.model_folder(NAME).name == "resnet18-standard-7eab6f4202"


def test_records_of_other_weights_are_stale(tiny_run):
    run = tiny_run()
    run.evaluate(NAME, "clean")
    summary = run.summary(NAME)
    summary["weights"]["best"] = "0" * 64
    records.write_json(run.model_folder(NAME) / "model.json", summary)
    with pytest.raises(RecordError, match="no clean record"):
        run.record(NAME, "clean")
    with pytest.raises(RecordError, match="is not the file its model.json describes"):
        run.evaluate(NAME, "clean")


def test_a_changed_data_set_is_noticed(tiny_run):
    tiny_run().evaluate(NAME, "clean")
    other = tiny_run()
    shifted = data.load("shapes", "test", n=60, seed=5)
    other._data["test"] = shifted
    with pytest.raises(RecordError, match="made from other images"):
        other.evaluate(NAME, "clean")
    other = tiny_run()
    other._data["train"] = data.load("shapes", "train", n=120, seed=5)
    with pytest.raises(RecordError, match="trained on other train images"):
        other.trained(NAME)


@pytest.mark.slow
@pytest.mark.parametrize("evaluated", ["pgd", "autoattack", "smoothing", "corruptions"])
def test_an_interrupted_evaluation_gives_the_same_record(tiny_run, monkeypatch, evaluated):
    run = tiny_run()
    whole = run.evaluate(NAME, evaluated)
    path = run.record_path(NAME, evaluated)
    path.unlink()
    real, calls = records.write_record, []

    def dies_after_one(target, *rest):
        if calls:
            raise KeyboardInterrupt
        calls.append(target)
        real(target, *rest)

    monkeypatch.setattr(records, "write_record", dies_after_one)
    with pytest.raises(KeyboardInterrupt):
        run.evaluate(NAME, evaluated)
    monkeypatch.setattr(records, "write_record", real)
    parts = path.with_suffix(".parts")
    (shard,) = parts.iterdir()
    stamp = shard.stat().st_mtime_ns
    seen = []
    monkeypatch.setattr(
        "rslib.run.shards.discard_parts",
        lambda folder: (seen.append(shard.stat().st_mtime_ns), shutil.rmtree(folder)),
    )
    resumed = run.evaluate(NAME, evaluated)
    assert seen == [stamp]  # the finished shard was kept, not made again
    pd.testing.assert_frame_equal(resumed, whole)
    assert resumed.attrs["notes"] == whole.attrs["notes"]
    assert not parts.exists()


def test_readers_say_what_to_do_when_nothing_is_there(tiny_run):
    with pytest.raises(RecordError, match="has not been trained.*run notebook 01"):
        tiny_run().record(NAME, "clean")
    with pytest.raises(RecordError, match="has not been trained"):
        tiny_run().summary(NAME)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet-standard", "architectures"),
        ("resnet18", "objectives"),
        ("resnet18-std", "standard"),
    ],
)
def test_bad_model_names_are_explained(tiny_run, name, said):
    with pytest.raises(ValueError, match=said):
        tiny_run().trained(name)


def test_bad_evaluations_splits_and_seeds_are_explained(tiny_run):
    with pytest.raises(ValueError, match="known: clean, fgsm, pgd, budgets, transfer, autoattack"):
        tiny_run().evaluate(NAME, "gdp")
    with pytest.raises(ValueError, match="'train', 'validation' or 'test'"):
        tiny_run().data("tset")
    for seed in (-1, 1.5, "0", True):
        with pytest.raises(ValueError, match="seed must be a whole number"):
            tiny_run(seed=seed)


def test_validation_images_do_not_depend_on_the_seed_and_are_not_trained_on(tiny_run):
    a, b = tiny_run(seed=0), tiny_run(seed=1)
    assert a.data("validation").fingerprint == b.data("validation").fingerprint
    assert not set(a.data("validation").ids.tolist()) & set(a.data("train").ids.tolist())
    assert a.model_folder(NAME).name != b.model_folder(NAME).name


def test_test_subsets_are_nested(tiny_run):
    run = tiny_run()
    attacked = set(run.evaluated_images("pgd").ids.tolist())
    assert attacked < set(run.data("test").ids.tolist())


@pytest.mark.slow
def test_a_run_with_tf32_gradients_repeats_some_images_in_strict_fp32(tiny_run):
    repeated = tiny_run({"evaluation": {"tf32": True}}).evaluate(NAME, "pgd").attrs["strict_fp32"]
    assert repeated["n"] == 20
    # A CPU has no TF32: both runs are the same computation.
    assert repeated["agreement"] == 1.0
    assert repeated["accuracy_fp32"] == repeated["accuracy_tf32"]
    assert "strict_fp32" not in tiny_run().evaluate(NAME, "pgd").attrs


@pytest.mark.slow
def test_leaving_images_at_their_first_mistake_gives_the_same_verdict_sooner(tiny_run):
    whole, early = (
        tiny_run({"pgd": {"last_iterate": followed}}).evaluate(NAME, "pgd")
        for followed in (True, False)
    )
    assert (whole.correct == early.correct).all()
    assert "correct_last" in whole and "correct_last" not in early
    steps = tiny_run().settings.pgd.steps
    right = int(whole.clean_correct.sum())
    assert whole.attrs["notes"]["gradients"] == steps * right
    assert early.attrs["notes"]["gradients"] <= steps * right


def test_two_processes_do_not_make_the_same_thing(tiny_run, capsys):
    import threading

    first, second = tiny_run(), tiny_run()
    second.progress = True
    result = first.model_folder(NAME) / "model.json"
    entered, release, done = threading.Event(), threading.Event(), threading.Event()

    def hold():
        with first.lock(result):
            entered.set()
            release.wait(10)

    def wait():
        with second.lock(result):
            done.set()

    holder, waiter = threading.Thread(target=hold), threading.Thread(target=wait)
    holder.start()
    assert entered.wait(10)
    waiter.start()
    assert not done.wait(0.3)
    release.set()
    assert done.wait(10)
    holder.join()
    waiter.join()
    assert "waiting: another run is making" in capsys.readouterr().err


ROBUST = "resnet18-adversarial"


@pytest.mark.slow
def test_a_defended_model_starts_from_the_baselines_weights(tiny_run, monkeypatch):
    run = tiny_run()
    baseline = run.trained(NAME).state_dict()
    seen = {}
    real = training.fit

    def spy(model, *rest, **options):
        seen.update({k: v.clone() for k, v in model.state_dict().items()})
        return real(model, *rest, **options)

    monkeypatch.setattr("rslib.training.fit", spy)
    run.trained(ROBUST)
    assert all(torch.equal(baseline[name], seen[name]) for name in baseline)
    summary = run.summary(ROBUST)
    assert summary["parent"] == NAME
    assert summary["parent_weights"] == run.summary(NAME)["weights"]["best"]


@pytest.mark.slow
def test_a_defended_model_is_selected_by_its_robust_validation_accuracy(tiny_run):
    run = tiny_run()
    run.trained(ROBUST)
    summary = run.summary(ROBUST)
    robust = [row["validation_robust_accuracy"] for row in summary["history"]]
    assert robust[summary["best_epoch"] - 1] == max(robust)
    assert all(row["validation_robust_accuracy"] <= row["validation_accuracy"] + 0.3
               for row in summary["history"])  # fmt: skip


@pytest.mark.slow
def test_a_model_trained_with_noise_is_selected_with_noise(tiny_run):
    run = tiny_run({"training": {"noise": {"resnet18": {"epochs": 3}}}})
    run.trained("resnet18-noise")
    summary = run.summary("resnet18-noise")
    noisy = [row["validation_noisy_accuracy"] for row in summary["history"]]
    assert noisy[summary["best_epoch"] - 1] == max(noisy)


class Dark(torch.nn.Module):
    """Says 0 of an image whose mean is below half, and 1 of others."""

    def forward(self, x):
        bright = (x.mean((1, 2, 3)) > 0.5).float()
        return torch.stack([1 - bright, bright], 1)


def test_noise_is_the_same_at_every_call_and_none_leaves_accuracy_as_it_is():
    images = torch.cat([torch.full((20, 3, 2, 2), 0.45), torch.full((20, 3, 2, 2), 0.55)])
    labels = torch.arange(40) // 20
    known = data.Dataset(
        images.mul(255).round().byte(), labels, ("dark", "bright"), "two", "train", torch.arange(40)
    )
    batches = data.Batches(known, 16)
    assert trainer.noisy_accuracy(Dark(), batches, sigma=0.0, seed=0) == 1.0
    some = [trainer.noisy_accuracy(Dark(), batches, sigma=0.5, seed=seed) for seed in (0, 0, 1)]
    assert some[0] == some[1] < 1
    assert 0.4 < some[2] < 1


def test_a_teacher_does_not_start_from_the_weights_of_what_it_judges(tiny_run):
    run = tiny_run()
    standard, adversarial, teacher = (
        run.build(f"resnet18-{each}").network.conv1.weight
        for each in ("standard", "adversarial", "teacher")
    )
    assert torch.equal(standard, adversarial)
    assert not torch.equal(standard, teacher)


def test_a_record_of_autoattack_after_pgd_depends_on_that_pgd(tiny_run):
    def path(after, **pgd):
        return tiny_run(
            {"autoattack": {"skip_broken_by_pgd": after}, "pgd": pgd}, root=run.directory.parents[1]
        ).record_path(NAME, "autoattack")

    run = tiny_run()
    run.trained(NAME)
    assert path(True, steps=3).name != path(True, steps=4).name
    assert path(True, n=20).name == path(True, n=30).name
    assert path(False, steps=3).name == path(False, steps=4).name


@pytest.mark.slow
def test_a_model_from_other_parents_is_refused(tiny_run):
    run = tiny_run()
    run.trained(ROBUST)
    path = run.model_folder(ROBUST) / "model.json"
    records.write_json(path, run.summary(ROBUST) | {"parent_weights": "0" * 64})
    with pytest.raises(RecordError, match="trained from other weights than resnet18-standard"):
        run.trained(ROBUST)


def test_what_the_parent_was_trained_with_is_in_the_childs_key(tiny_run):
    changed = tiny_run({"training": {"standard": {"resnet18": {"epochs": 2}}}})
    assert tiny_run().model_folder(ROBUST) != changed.model_folder(ROBUST)
    changed = tiny_run({"training": {"adversarial": {"probability": 0.75}}})
    assert tiny_run().model_folder(ROBUST) != changed.model_folder(ROBUST)
    assert tiny_run().model_folder(NAME) == changed.model_folder(NAME)


@pytest.mark.slow
def test_autoattack_records_say_what_ran(tiny_run):
    frame = tiny_run().evaluate(NAME, "autoattack")
    notes = frame.attrs["notes"]
    assert notes["package"].startswith("pyautoattack")
    assert "2 steps" in notes["label"] or "steps" in notes["label"]
    assert notes["mismatches"] == 0
    assert notes["stages"][:2] == ["clean", "known"]
    assert (frame.correct == (frame.broken_by < 0)).all()
    assert (frame.clean_correct == (frame.broken_by != 0)).all()


@pytest.mark.slow
def test_each_attack_by_itself_where_asked_for(tiny_run):
    run = tiny_run({"autoattack": {"individual": True}})
    frame = run.evaluate(NAME, "autoattack")
    alone = [column for column in frame if column.startswith("alone_")]
    assert alone == ["alone_apgd-ce", "alone_apgd-t", "alone_fab-t", "alone_square"]
    # What survives all of them survives each; the first attack is cumulative and individual.
    assert not (frame.correct & ~frame[alone].all(axis=1)).any()
    broken_first = frame.broken_by.isin([0, 2])
    assert (frame["alone_apgd-ce"] == ~broken_first).all()
    plain = tiny_run().evaluate(NAME, "autoattack")
    pd.testing.assert_frame_equal(frame[plain.columns], plain, check_exact=True)


@pytest.mark.slow
def test_certificates_stay_under_the_ceiling(tiny_run):
    run = tiny_run()
    frame = run.evaluate(NAME, "smoothing")
    chosen = run.settings.smoothing
    ceiling = smoothing.largest_radius(chosen.samples, sigma=chosen.sigma, alpha=chosen.alpha)
    assert frame.radius.max() <= ceiling
    assert ((frame.prediction == smoothing.ABSTAIN) == (frame.radius == 0)).all()
    assert not (frame.correct & (frame.prediction == smoothing.ABSTAIN)).any()


@pytest.mark.slow
def test_a_reliability_report_is_made_once_and_says_whose_it_is(tiny_run, monkeypatch):
    run = tiny_run()
    report = run.reliability(NAME)
    assert report["model"] == NAME
    assert report["passed"] == all(check["passed"] for check in report["checks"])
    monkeypatch.setattr("rslib.attacks.reliability", lambda *a, **k: pytest.fail("made again"))
    assert run.reliability(NAME) == report


@pytest.mark.slow
def test_the_verdict_compares_autoattack_on_the_same_images_once_it_has_run(tiny_run):
    run = tiny_run({"autoattack": {"n": 60}, "reliability": {"n": 40}})
    before = run.reliability(NAME)
    assert "autoattack" not in [check["name"] for check in before["checks"]]
    record = run.evaluate(NAME, "autoattack").set_index("image")
    report = run.reliability(NAME)
    (check,) = [check for check in report["checks"] if check["name"] == "autoattack"]
    examined = data.balanced_subset(run.data("test"), 40).ids.tolist()
    assert check["evidence"]["autoattack_accuracy"] == record["correct"].loc[examined].mean()
    assert report["inputs"]["autoattack"] is not None


@pytest.mark.slow
def test_autoattack_on_too_few_images_or_another_budget_is_no_part_of_the_verdict(tiny_run):
    for overrides in (
        {"autoattack": {"n": 30}, "reliability": {"n": 40}},
        {"autoattack": {"n": 40, "eps": 4}, "reliability": {"n": 40}},
    ):
        run = tiny_run(overrides)
        run.evaluate(NAME, "autoattack")
        assert run.reliability(NAME)["inputs"]["autoattack"] is None


@pytest.mark.slow
def test_corruption_records_agree_with_a_plain_loop(tiny_run):
    run = tiny_run()
    frame = run.evaluate(NAME, "corruptions")
    model, corrupted = run.trained(NAME), run.corrupted()
    assert len(frame) == 20 and frame.attrs["corrupted"] == corrupted.identity
    assert corrupted.origin == "generated"
    for name, severity in (("fog", 1), ("impulse_noise", 5), ("jpeg_compression", 3)):
        images = corrupted.images(name, severity)
        with torch.no_grad():
            confidence, prediction = model(images.float() / 255).softmax(1).max(1)
        right = (prediction == corrupted.clean.labels).tolist()
        assert frame[f"{name}_{severity}"].tolist() == right
        stored = frame[f"{name}_{severity}_confidence"].to_numpy()
        assert abs(stored - confidence.numpy()).max() < 6e-4
    assert frame.image.tolist() == corrupted.clean.ids.tolist()


@pytest.mark.slow
def test_models_evaluated_together_share_the_corrupted_images(tiny_run, monkeypatch, tmp_path):
    names = [NAME, "alexnet-standard"]
    alone = {n: tiny_run(root=tmp_path / "alone").evaluate(n, "corruptions") for n in names}
    made = []
    real = cifar10c.corrupt
    monkeypatch.setattr(cifar10c, "corrupt", lambda *a, **k: made.append(a[1]) or real(*a, **k))
    run = tiny_run(root=tmp_path / "together")
    together = run.evaluate_together(names, "corruptions")
    assert len(made) == 2 * 19 * 5  # two shards
    for name in names:
        pd.testing.assert_frame_equal(together[name], alone[name])


@pytest.mark.slow
def test_records_of_other_corrupted_images_are_refused(tiny_run, monkeypatch):
    run = tiny_run()
    run.evaluate(NAME, "corruptions")
    monkeypatch.setattr(cifar10c, "GENERATOR_VERSION", 99)
    with pytest.raises(RecordError, match="other corrupted images .*generator 1, now 99"):
        run.evaluate(NAME, "corruptions")


def test_insisting_on_an_archive_that_cannot_be_there(tiny_run):
    run = tiny_run({"corruptions": {"official": True}})
    with pytest.raises(data.DataError, match="there is none for shapes test"):
        run.evaluate(NAME, "corruptions")
