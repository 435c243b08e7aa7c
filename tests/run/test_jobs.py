"""Which models a run needs, who waits for whom, and the command that trains one."""

import json
import re

import pytest
import yaml
from filelock import FileLock

from rslib import settings
from rslib.__main__ import main
from rslib.run import Run
from rslib.run.jobs import slug, train_all, training_jobs
from rslib.settings import PROJECT, cast
from rslib.settings.names import TEACHERS
from tests.helpers.tiny import TINY

EDITION = PROJECT / "book" / "published" / "cpu" / "seed0"


def run_of(profile, overrides=None, seed=0):
    return Run(settings.load(profile, overrides), seed, progress=False)


def test_the_models_foreseen_are_those_that_the_published_notebooks_have_trained():
    trained = {path.parent.name: path for path in EDITION.glob("models/*/model.json")}
    jobs = training_jobs(run_of(str(EDITION.parent / "params.yaml")))
    assert set(jobs) == {slug(folder) for folder in trained}
    for folder, path in trained.items():
        about = json.loads(path.read_text())
        job = jobs[slug(folder)]
        needs = {jobs[key].name for key in job.needs}
        assert job.name == about["name"]
        parents = {about["parent"]} if about.get("parent") else set()
        # On photographs, masks are the CNN teacher's; on Shapes (the shortcut) they are known.
        of_teacher = "aligned" in about["objective"] and not job.shortcut
        assert needs == parents | ({TEACHERS["cnn"]} if of_teacher else set())


@pytest.mark.parametrize("profile", ["smoke", "cpu", "fast", "wide", "paper"])
def test_whoever_is_needed_comes_first(profile):
    done = set()
    for key, job in training_jobs(run_of(profile)).items():
        assert set(job.needs) <= done
        done.add(key)
    assert len(done) > 20


def test_keys_pass_through_file_names_and_command_lines():
    variant = "resnet18-aligned@reading=standardized,beta=1.0"
    run = run_of("smoke", {"alignment": {"variants": [variant]}})
    jobs = training_jobs(run)
    assert all(re.fullmatch(r"[\w.-]+", key) for key in jobs)
    (key,) = (key for key, job in jobs.items() if job.name == variant)
    assert key.startswith("resnet18-aligned_reading_standardized_beta_1.0-")
    other_seed = training_jobs(run_of("smoke", {"alignment": {"variants": [variant]}}, seed=1))
    assert not set(jobs) & set(other_seed)


def test_exact_masks_need_no_teacher_and_a_teachers_masks_do():
    assert cast.needed(settings.load("smoke"), ["vit_small-aligned"]) == {
        "vit_small-standard": (),
        "vit_small-aligned": ("vit_small-standard",),
    }
    taught = cast.needed(settings.load("smoke"), ["vit_small-aligned@masks=vit"])
    assert taught["vit_small-aligned@masks=vit"] == ("vit_small-standard", "vit_small-teacher")
    assert taught["vit_small-teacher"] == ()


def test_what_settings_add_is_foreseen_with_all_that_it_starts_from():
    late = "resnet18-adversarial@start=aligned@beta=0.7"
    jobs = training_jobs(run_of("smoke", {"combination": {"models": [late]}}))
    by_name = {job.name: job for job in jobs.values() if not job.shortcut}
    assert by_name[late].notebook == "12_robust_and_aligned"
    assert [jobs[key].name for key in by_name[late].needs] == ["resnet18-aligned@beta=0.7"]
    (before,) = by_name[late].needs
    assert [jobs[key].name for key in jobs[before].needs] == ["resnet18-standard"]


def test_the_shortcut_experiment_trains_models_of_its_own():
    jobs = training_jobs(run_of("cpu")).values()
    both = [job for job in jobs if job.name == "resnet18-standard"]
    assert [job.shortcut for job in both] == [False, True]
    assert {job.notebook for job in jobs if job.shortcut} == {"09_alignment_results"}


def test_a_further_seed_has_the_models_that_are_named_and_what_they_need():
    named = ["resnet18-adversarial", "vit_small-aligned"]
    run = Run(settings.load("cpu", {"seeded": named}), 1, further=True)
    # Both teachers' masks: aligned to one's, overlap is measured with both.
    expected = {
        *("resnet18-standard", "vit_small-standard", *named),
        *TEACHERS.values(),
    }
    assert set(cast.seeded(run.settings)) == expected
    found = training_jobs(run)
    assert {job.name for job in found.values() if not job.shortcut} == expected
    # Of the four models of the shortcut experiment, whose masks are exact.
    assert {job.name for job in found.values() if job.shortcut} == {"resnet18-standard"}
    whole = training_jobs(run_of("cpu", seed=1))
    assert {key: whole[key].needs for key in found} == {k: job.needs for k, job in found.items()}
    assert run.has("resnet18-teacher") and not run.has("resnet18-aligned")
    # Nothing is left out of the first seed, nor where no list is given.
    assert training_jobs(run_of("cpu", {"seeded": named}, seed=1)) == whole
    assert training_jobs(Run(settings.load("cpu", {"seeded": None}), 1, further=True)) == whole


def test_a_further_seed_cannot_have_what_no_notebook_trains():
    said = "seeded names resnet18-alined, which no notebook trains.*resnet18-standard, vit_small"
    with pytest.raises(settings.SettingsError, match=said):
        settings.load("smoke", {"seeded": ["resnet18-alined"]})


def test_a_name_without_a_training_is_refused():
    with pytest.raises(ValueError, match="no model 'resnet18-magic'"):
        training_jobs(run_of("smoke", {"extra_models": ["resnet18-magic"]}))


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A profile of seconds as a file, and a folder of runs for it."""
    monkeypatch.setenv("RSLIB_RUNS", str(tmp_path / "runs"))
    base = yaml.safe_load((PROJECT / "params" / "smoke.yaml").read_text())["settings"]
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({"profile": "tiny", "settings": settings.merge(base, TINY)}))
    return path


@pytest.mark.slow
def test_the_command_trains_once_with_what_comes_before(tiny, tmp_path, capsys):
    command = ["train", "resnet18-aligned", "--profile", str(tiny), "--seed", "1"]
    assert main(command) == 0
    assert "resnet18-aligned" in capsys.readouterr().out
    made = {p: p.stat().st_mtime_ns for p in tmp_path.glob("runs/tiny/seed1/models/*/model.json")}
    names = sorted(path.parent.name.rpartition("-")[0] for path in made)
    assert names == ["resnet18-aligned", "resnet18-standard"]
    foreseen = training_jobs(run_of(str(tiny), seed=1))
    assert {slug(path.parent.name) for path in made} <= set(foreseen)

    assert main(command) == 0
    assert made == {path: path.stat().st_mtime_ns for path in made}

    (weights,) = tmp_path.glob("runs/tiny/seed1/models/resnet18-aligned-*/best.safetensors")
    weights.write_bytes(b"half of it")
    assert main(command) == 1
    assert "is not the file its model.json describes" in capsys.readouterr().err


def test_the_command_says_what_it_does_not_know(tiny, capsys):
    assert main(["train", "resnet18-magic", "--profile", str(tiny)]) == 2
    assert "no model 'resnet18-magic'" in capsys.readouterr().err


def test_a_stopped_training_is_said_to_go_on(tiny, capsys, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "trained", stop)
    assert main(["train", "resnet18-standard", "--profile", str(tiny)]) == 130
    assert "goes on at the last finished epoch" in capsys.readouterr().err


def test_all_models_are_trained_in_the_order_of_the_stages(tmp_path, monkeypatch):
    trained = []

    class Recorded(Run):
        def trained(self, name):
            trained.append(name)

        def weights_digest(self, name):
            return "digest" if name in trained else None

    stages = ["vit_small-adversarial", "resnet18-noise"]
    run = Recorded(settings.load("smoke", {"stages": stages}), root=tmp_path, progress=False)
    expected = ["vit_small-standard", "vit_small-adversarial", "resnet18-standard"]
    assert list(train_all(run)) == trained == [*expected, "resnet18-noise"]


def test_what_another_process_trains_is_left_to_it(tmp_path):
    done = set()

    class Recorded(Run):
        def trained(self, name):
            done.add(name)

        def weights_digest(self, name):
            return "digest" if name in done else None

    stages = ["resnet18-adversarial", "vit_small-standard"]
    run = Recorded(settings.load("smoke", {"stages": stages}), root=tmp_path, progress=False)
    taken = run.directory / "locks" / "resnet18-standard.taken"
    taken.parent.mkdir(parents=True)
    with FileLock(taken):
        assert list(train_all(run)) == ["vit_small-standard"]
    assert list(train_all(run)) == ["resnet18-standard", "resnet18-adversarial"]


def test_a_stage_that_is_no_training_is_refused():
    with pytest.raises(settings.SettingsError, match="no model 'resnet18-standrad'"):
        settings.load("smoke", {"stages": ["resnet18-standrad"]})
