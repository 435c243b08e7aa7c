"""The official archive read from small files in its layout, generated data, and the exporter."""

import json
import os

import numpy as np
import pytest
import torch

from rslib.corruptions import NAMES, cifar10c, corrupt
from rslib.data import DataError
from tests.helpers.corruption_samples import N, channels_last, dataset, photographs, write_archive


@pytest.fixture(autouse=True)
def small_official(monkeypatch):
    """Let the official archive have twelve images a severity instead of 10,000."""
    monkeypatch.setattr(cifar10c, "OFFICIAL_IMAGES", N)


@pytest.fixture
def archive(tmp_path):
    """A data set, and the folder that holds its official archive."""
    clean = dataset()
    write_archive(tmp_path / "CIFAR-10-C", clean)
    return clean, tmp_path


@pytest.fixture(scope="module")
def frost(tmp_path_factory):
    return photographs(tmp_path_factory.mktemp("frost"))


class TestOfficial:
    def test_severities_are_stacked_and_ids_pick_rows(self, archive):
        clean, root = archive
        part = clean.subset([7, 2, 11])
        corrupted = cifar10c.load(part, root=root)
        assert corrupted.origin == "official" and "official files" in str(corrupted)
        for place, name in ((0, "gaussian_noise"), (9, "fog"), (18, "saturate")):
            for severity in range(1, 6):
                images = corrupted.images(name, severity)
                assert images.shape == (3, 3, 32, 32) and images.dtype == torch.uint8
                assert images[:, 0, 0, 0].tolist() == [7, 2, 11]
                assert images[:, 1].unique() == (severity - 1) * 20 + place

    def test_it_is_found_where_the_data_is(self, archive, monkeypatch):
        clean, root = archive
        monkeypatch.setenv("RSLIB_DATA", str(root))
        assert cifar10c.load(clean).origin == "official"
        assert cifar10c.load(clean, official=False).origin == "generated"

    def test_only_the_cifar10_test_split_has_one(self, archive):
        _, root = archive
        for other in (dataset(name="shapes"), dataset(split="train")):
            assert cifar10c.load(other, root=root).origin == "generated"
            with pytest.raises(DataError, match="there is none for"):
                cifar10c.load(other, root=root, official=True)

    def test_insisting_on_a_missing_one(self, tmp_path):
        with pytest.raises(DataError, match=r"does not exist: get CIFAR-10-C\.tar"):
            cifar10c.load(dataset(), root=tmp_path, official=True)

    def test_identities_differ_from_generated(self, archive):
        clean, root = archive
        official = cifar10c.load(clean, root=root).identity
        generated = cifar10c.load(clean, root=root, official=False).identity
        assert official["origin"] == "official" and "seed" not in official
        assert official != generated
        json.dumps([official, generated])


class TestDamage:
    def test_missing_files_are_named(self, archive):
        clean, root = archive
        (root / "CIFAR-10-C" / "fog.npy").unlink()
        (root / "CIFAR-10-C" / "labels.npy").unlink()
        with pytest.raises(DataError, match=r"incomplete: fog\.npy, labels\.npy missing"):
            cifar10c.load(clean, root=root)

    @pytest.mark.parametrize("keep", [0, 40, 5000])
    def test_a_truncated_file(self, archive, keep):
        clean, root = archive
        path = root / "CIFAR-10-C" / "snow.npy"
        os.truncate(path, keep)
        with pytest.raises(DataError, match=r"snow\.npy is damaged"):
            cifar10c.load(clean, root=root)

    @pytest.mark.parametrize(
        "wrong",
        [
            np.zeros((5 * N, 32, 32, 3), np.float32),
            np.zeros((5 * N, 3, 32, 32), np.uint8),
            np.zeros((4 * N, 32, 32, 3), np.uint8),
            np.uint8(3),
        ],
    )
    def test_another_shape_or_type(self, archive, wrong):
        clean, root = archive
        np.save(root / "CIFAR-10-C" / "frost.npy", wrong)
        with pytest.raises(DataError, match=r"frost\.npy: expected uint8 \(60, 32, 32, 3\)"):
            cifar10c.load(clean, root=root)

    def test_nothing_is_unpickled(self, archive, tmp_path):
        clean, root = archive

        class Trap:
            def __reduce__(self):
                return (os.mkdir, (str(tmp_path / "ran"),))

        np.save(root / "CIFAR-10-C" / "fog.npy", np.array([Trap()], dtype=object))
        with pytest.raises(DataError, match=r"fog\.npy is damaged or not a NumPy array"):
            cifar10c.load(clean, root=root)
        assert not (tmp_path / "ran").exists()

    def test_a_zip_of_arrays(self, archive):
        clean, root = archive
        with open(root / "CIFAR-10-C" / "fog.npy", "wb") as file:
            np.savez(file, a=np.zeros(3))
        with pytest.raises(DataError, match=r"fog\.npy is not one NumPy array"):
            cifar10c.load(clean, root=root)

    def test_labels_of_other_images(self, archive):
        clean, root = archive
        labels = (clean.labels + torch.tensor([1] + [0] * (N - 1))) % 10
        np.save(root / "CIFAR-10-C" / "labels.npy", np.tile(labels.numpy(), 5))
        with pytest.raises(DataError, match="1 of 12 labels differ"):
            cifar10c.load(clean, root=root)
        assert cifar10c.load(clean.subset([3, 4]), root=root).origin == "official"

    def test_labels_that_differ_between_severities(self, archive):
        clean, root = archive
        labels = np.tile(clean.labels.numpy(), 5)
        labels[-1] = (labels[-1] + 1) % 10
        np.save(root / "CIFAR-10-C" / "labels.npy", labels)
        with pytest.raises(DataError, match="differ between severities"):
            cifar10c.load(clean, root=root)

    @pytest.mark.parametrize("labels", [np.zeros(5 * N), np.zeros((5, N), int), np.zeros(61, int)])
    def test_labels_of_another_form(self, archive, labels):
        clean, root = archive
        np.save(root / "CIFAR-10-C" / "labels.npy", labels)
        with pytest.raises(DataError, match=r"labels\.npy: expected whole numbers"):
            cifar10c.load(clean, root=root)

    def test_another_number_of_images(self, tmp_path):
        write_archive(tmp_path / "CIFAR-10-C", dataset(5))
        with pytest.raises(DataError, match="hold 12 images a severity, these 5"):
            cifar10c.load(dataset(), root=tmp_path)

    def test_unknown_name_and_severity(self, archive):
        clean, root = archive
        corrupted = cifar10c.load(clean, root=root)
        with pytest.raises(ValueError, match="did you mean 'fog'"):
            corrupted.images("fogg", 1)
        with pytest.raises(ValueError, match="must be 1, 2, 3, 4 or 5"):
            corrupted.images("fog", 0)


class TestGenerated:
    def test_images_are_those_of_corrupt(self, tmp_path):
        clean = dataset()
        corrupted = cifar10c.load(clean, root=tmp_path, seed=3)
        assert corrupted.origin == "generated" and "not the official files" in str(corrupted)
        expected = corrupt(clean.images, "snow", 2, seed=3)
        assert torch.equal(corrupted.images("snow", 2), expected)

    def test_a_subset_sees_the_same_pixels(self, tmp_path):
        clean, picked = dataset(), [5, 1]
        part = cifar10c.load(clean.subset(picked), root=tmp_path)
        whole = cifar10c.load(clean, root=tmp_path)
        assert torch.equal(part.images("fog", 4), whole.images("fog", 4)[picked])

    def test_the_identity_holds_what_decides_the_pixels(self, tmp_path, frost):
        clean = dataset()
        identities = [
            cifar10c.load(clean, root=tmp_path).identity,
            cifar10c.load(clean, root=tmp_path, seed=1).identity,
            cifar10c.load(clean.subset([0, 1]), root=tmp_path).identity,
            cifar10c.load(dataset(seed=1), root=tmp_path).identity,
            cifar10c.load(clean, root=tmp_path, photographs=frost).identity,
        ]
        assert len({json.dumps(identity, sort_keys=True) for identity in identities}) == 5
        assert identities[0] == cifar10c.load(dataset(), root=tmp_path).identity


class TestExport:
    def test_round_trip(self, tmp_path, frost):
        clean = dataset(4)
        folder = cifar10c.export(clean, tmp_path / "out", seed=2, photographs=frost)
        archive = cifar10c.Archive(folder)
        assert (archive.folder / cifar10c.MARKER).is_file()
        assert torch.equal(archive.labels, clean.labels)
        for name in NAMES:
            rows = np.load(folder / f"{name}.npy", allow_pickle=False)
            assert rows.shape == (20, 32, 32, 3) and rows.dtype == np.uint8
            for severity in (1, 5):
                made = corrupt(clean.images, name, severity, seed=2, photographs=frost)
                assert (rows[(severity - 1) * 4 : severity * 4] == channels_last(made)).all()
                back = archive.images(name, severity, torch.tensor([3, 0]))
                assert torch.equal(back, made[[3, 0]])

    def test_an_export_is_never_taken_for_the_official_archive(self, tmp_path, frost):
        clean = dataset()
        cifar10c.export(clean, tmp_path / "CIFAR-10-C", photographs=frost)
        assert cifar10c.load(clean, root=tmp_path).origin == "generated"
        with pytest.raises(DataError, match="holds generated images"):
            cifar10c.load(clean, root=tmp_path, official=True)

    def test_it_never_writes_over_an_archive(self, archive):
        clean, root = archive
        before = (root / "CIFAR-10-C" / "fog.npy").read_bytes()
        with pytest.raises(DataError, match="perhaps the official archive"):
            cifar10c.export(clean, root / "CIFAR-10-C", names=["fog"])
        assert (root / "CIFAR-10-C" / "fog.npy").read_bytes() == before

    def test_it_never_mixes_two_exports(self, tmp_path):
        cifar10c.export(dataset(), tmp_path, names=["contrast"])
        for other, seed in ((dataset(), 1), (dataset(seed=1), 0)):
            with pytest.raises(DataError, match="holds another export"):
                cifar10c.export(other, tmp_path, names=["contrast"], seed=seed)
        (tmp_path / cifar10c.MARKER).write_text("{")
        with pytest.raises(DataError, match="holds another export"):
            cifar10c.export(dataset(), tmp_path, names=["contrast"])

    def test_an_interrupted_export_leaves_whole_files_and_goes_on(self, tmp_path, monkeypatch):
        clean, calls = dataset(), []

        def failing(images, name, severity, **options):
            calls.append(name)
            if (name, severity) == ("pixelate", 3):
                raise KeyboardInterrupt
            return corrupt(images, name, severity, **options)

        monkeypatch.setattr(cifar10c, "corrupt", failing)
        names = ["contrast", "pixelate"]
        with pytest.raises(KeyboardInterrupt):
            cifar10c.export(clean, tmp_path, names=names)
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {cifar10c.MARKER, "labels.npy", "contrast.npy"}

        def counting(images, name, severity, **options):
            calls.append(name)
            return corrupt(images, name, severity, **options)

        calls.clear()
        monkeypatch.setattr(cifar10c, "corrupt", counting)
        cifar10c.export(clean, tmp_path, names=names)
        assert set(calls) == {"pixelate"}
        assert np.load(tmp_path / "pixelate.npy").shape == (5 * N, 32, 32, 3)

    def test_unknown_names_leave_nothing(self, tmp_path):
        with pytest.raises(ValueError, match="no corruption 'rain'"):
            cifar10c.export(dataset(), tmp_path / "out", names=["fog", "rain"])
        assert not (tmp_path / "out").exists()
