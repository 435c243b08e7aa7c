import re

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as checks
from hypothesis import strategies as st

from rslib import settings
from rslib.report import table
from rslib.run import Run
from rslib.settings import SettingsError, load
from rslib.settings.names import layers
from rslib.settings.schema import Data, Settings


def fields(section=None, prefix=""):
    """(dotted key, the paper's value, description) of every setting."""
    section = section or Settings()
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if hasattr(value, "model_dump"):
            yield from fields(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, field.description


def test_defaults_are_the_papers_protocol():
    paper = load("paper")
    # Of all that the paper names, nothing differs; how many images are withheld, it does not name.
    assert paper == Settings(data=Data(validation_size=5000))
    recipe = paper.training.standard.resnet18
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate) == (100, 128, 0.1)
    told = (recipe.momentum, recipe.weight_decay, recipe.flip, recipe.padding)
    assert told == (0.9, 5e-4, 0.5, 4)
    assert paper.training.standard.vit_small.learning_rate == 0.001
    assert (paper.pgd.eps, paper.pgd.steps) == (8, 20)
    assert paper.pgd.step_size == pytest.approx(2 * (8 / 255) / 20)
    assert (paper.vit_small.dim, paper.vit_small.depth, paper.vit_small.heads) == (384, 12, 6)


def test_the_books_example_of_a_profile_is_one(tmp_path, monkeypatch):
    page = (settings.PROJECT / "book" / "pages" / "reproduce.md").read_text()
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "mine.yaml").write_text(example)
    monkeypatch.setenv("RSLIB_PARAMS", str(tmp_path))
    chosen = load("mine")
    assert (chosen.profile, chosen.resnet18.width, chosen.pgd.n) == ("mine", 16, 1000)
    assert list(settings.profiles()) == ["mine"]


@pytest.mark.parametrize("name", sorted(settings.profiles()))
def test_every_profile_loads_and_lists_only_what_differs(name):
    content = yaml.safe_load(settings.profiles()[name].read_text())
    assert content["profile"] == name
    assert load(name).profile == name
    defaults = {key: value for key, value, _ in fields()}
    for key, value in flat(content["settings"]):
        assert defaults[key] != value, f"{key} repeats the paper's value"


def flat(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_every_setting_names_its_section_or_says_it_is_ours():
    for key, _, description in fields():
        assert description.startswith(("3.", "4.", "5.", "ours")), key


def test_which_models_further_seeds_have_is_in_no_key(tmp_path):
    """What was made for one seed is that of several, and the other way round."""
    name = "resnet18-aligned"
    runs = [Run(load("cpu", {"seeded": some}), 0, root=tmp_path) for some in (None, [name])]
    for key in (table.settings_key, lambda run: run.model_folder(name)):
        first, second = map(key, runs)
        assert first == second


def test_overrides_change_only_what_they_name():
    changed = load("paper", {"training": {"standard": {"vit_small": {"epochs": 3}}}})
    recipe = changed.training.standard.vit_small
    assert recipe.epochs == 3
    assert recipe.learning_rate == 0.001  # the ViT's own default, not the class's


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"pdg": {}}, ["pdg", "did you mean 'pgd'"]),
        ({"pgd": {"step": 3}}, ["pgd.step", "given 3", "did you mean 'steps'", "step_ratio"]),
        ({"training": {"standard": {"resnet": {}}}}, ["training.standard.resnet", "'resnet18'"]),
        ({"pgd": {"eps": "8/255"}}, ["pgd.eps", "'8/255'", "write budgets as 8"]),
        ({"training": {"standard": {"resnet18": {"weight_decay": "1e-3"}}}}, ["1.0e-3"]),
        ({"seeded": []}, ["seeded", "at least 1 item"]),
        ({"pgd": {"eps": 0}}, ["pgd.eps", "greater than or equal to 1", "given 0"]),
        ({"pgd": {"eps": 8.5}}, ["pgd.eps", "given 8.5"]),
        ({"pgd": {"eps": True}}, ["pgd.eps", "given True"]),
        ({"pgd": None}, ["pgd", "given None"]),
        ({"pgd": 3}, ["pgd", "given 3"]),
        ({"fgsm": {"n": -1}}, ["fgsm.n", "given -1"]),
        ({"data": {"name": "cifar"}}, ["data.name", "'cifar10' or 'shapes'", "'cifar'"]),
        ({"evaluation": {"batch_size": 2.5}}, ["evaluation.batch_size", "2.5"]),
        ({"evaluation": {"confidence": 1.0}}, ["evaluation.confidence", "less than 1"]),
        ({"vit_small": {"dim": 100}}, ["vit_small", "dim 100 is not a multiple of heads"]),
        ({"resnet18": {"width": 6}}, ["resnet18.width", "multiple of 4"]),
        (
            {"training": {"standard": {"resnet18": {"warmup_epochs": 200.0}}}},
            ["warmup_epochs 200.0 must be below epochs"],
        ),
        ({"training": {"standard": {"resnet18": {"learning_rate": float("nan")}}}}, ["nan"]),
        ({"profile": "other"}, ["settings.profile", "'other'", "contradicts"]),
    ],
)
def test_bad_settings_are_explained(overrides, said):
    with pytest.raises(SettingsError) as caught:
        load("smoke", overrides)
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"extra_models": ["resnet18-tradse"]}, ["extra_models", "did you mean 'resnet18-trades'"]),
        ({"stages": ["vit_smal-aligned"]}, ["stages", "did you mean 'vit_small-aligned'"]),
        ({"seeded": ["resnet18-algned"]}, ["seeded", "did you mean 'resnet18-aligned'"]),
        ({"combination": {"both": "nothing"}}, ["combination.both", "'nothing'", "names are"]),
        ({"combination": {"models": ["resnet18-robust"]}}, ["combination.models", "did you mean"]),
        ({"alignment": {"variants": ["resnet18-aligned@betta=1.0"]}}, ["variants", "'beta'"]),
        ({"alignment": {"shared": "resnet18-standard"}}, ["alignment.shared", "share is none of"]),
        ({"alignment": {"variants": ["resnet18-aligned@beta=1.0,beta=2.0"]}}, ["stands twice"]),
        ({"extra_models": ["resnet18-aligned@layer=network.layer9"]}, ["'network.layer4'"]),
        ({"training": {"trades": {"start": "aligned@betta=1"}}}, ["betta", "'beta'"]),
        ({"training": {"aligned": {"layer": "network.layer9"}}}, ["aligned.layer", "layer4'"]),
        ({"masks": {"cnn_layer": "layer3"}}, ["masks.cnn_layer", "did you mean 'network.layer3'"]),
        ({"masks": {"vit_layer": "network.blocks.99"}}, ["masks.vit_layer", "of depth 3"]),
        ({"masks": {"own": "/no/such/folder"}}, ["masks.own", "no folder /no/such/folder", "give"]),
        ({"masks": {"own": "~nosuchuser/masks"}}, ["masks.own", "no user 'nosuchuser'"]),
        ({"masks": {"sources": ["own"]}}, ["masks.sources", "'own'", "give one"]),
        ({"training": {"aligned": {"masks": "own"}}}, ["training.aligned.masks", "give one"]),
        ({"data": {"name": "cifar10"}, "masks": {"sources": ["exact"]}}, ["cifar10 has no exact"]),
        ({"data": {"name": "shape"}}, ["data.name", "did you mean 'shapes'"]),
    ],
)
def test_names_that_would_fail_hours_later_are_found_at_load(overrides, said):
    with pytest.raises(SettingsError) as caught:
        load("smoke", overrides)
    for words in said:
        assert words in str(caught.value)


def test_own_masks_need_be_there_only_to_make_something(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    chosen = load("smoke", {"masks": {"own": str(folder)}})
    written = tmp_path / "mine.yaml"
    written.write_text(settings.dump(chosen))
    folder.rmdir()
    assert load(str(written), making=False) == chosen
    assert settings.derive(chosen, {"pgd": {"steps": 3}}).masks == chosen.masks
    with pytest.raises(SettingsError, match="masks.own: there is no folder"):
        load(str(written))
    with pytest.raises(SettingsError, match="masks.own: there is no folder"):
        settings.derive(chosen, {"masks": {"own": str(tmp_path / "other")}})


@pytest.mark.parametrize("network", ["resnet18", "vit_small"])
def test_layers_are_those_of_the_networks(network):
    from rslib.models import build

    size = (
        {"depth": 2, "dim": 16, "heads": 2, "patch": 8} if network == "vit_small" else {"width": 8}
    )
    there = [name for name, _ in build(network, **size).named_modules()]
    listed = layers(network, 2)
    assert set(listed) <= set(there) and len(set(listed)) == len(listed)
    features = [name for name in there if re.search(r"(conv|bn)\d$|layer\d$|blocks\.\d+$", name)]
    assert features and set(features) <= set(listed)


def test_all_problems_are_listed_at_once():
    with pytest.raises(SettingsError) as caught:
        load("smoke", {"pgd": {"step": 3, "eps": 0}, "fgms": {}})
    for key in ("pgd.step", "pgd.eps", "fgms"):
        assert key in str(caught.value)


@pytest.mark.parametrize("overrides", ["pgd", 3, [1]])
def test_overrides_must_be_a_mapping(overrides):
    with pytest.raises(SettingsError, match="must be a mapping"):
        load("smoke", overrides)


def test_unknown_profile_suggests_the_nearest():
    with pytest.raises(SettingsError, match="did you mean 'smoke'"):
        load("smoek")


def test_a_profile_may_be_a_file_of_the_users(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("profile: mine\nsettings: {pgd: {steps: 7}}\n")
    mine = load(str(path))
    assert (mine.profile, mine.pgd.steps) == ("mine", 7)


@pytest.mark.parametrize(
    ("profile", "overrides"),
    [
        *((name, {}) for name in settings.profiles()),
        # The default of its class, which is not that of its place.
        ("paper", {"training": {"standard": {"vit_small": {"optimizer": "sgd"}}}}),
        ("smoke", {"seeded": ["resnet18-standard"], "pgd": {"n": None, "eps": 4}}),
    ],
)
def test_settings_written_as_a_profile_are_read_back(tmp_path, profile, overrides):
    chosen = load(profile, overrides)
    path = tmp_path / "mine.yaml"
    path.write_text(settings.dump(chosen))
    assert load(str(path)) == chosen


def test_a_written_profile_lists_what_differs_alone():
    text = settings.dump(load("paper", {"pgd": {"steps": 7}}))
    expected = {"data": {"validation_size": 5000}, "pgd": {"steps": 7}}
    assert yaml.safe_load(text) == {"profile": "paper", "settings": expected}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("profile: [", "not valid YAML"),
        ("profile: x\nsetings: {}\n", "holds 'setings'; only 'profile:' and 'settings:' may stand"),
        ("pgd: {}\n3: 4\n", "holds 'pgd', 3; only 'profile:' and 'settings:' may stand"),
        ("- 1\n", r"holds \[1\]; only 'profile:' and 'settings:' may stand"),
        ("profile: ../../etc\nsettings: {}\n", "names the run directory"),
        ("profile: 3\nsettings: {}\n", "names the run directory"),
        ("profile: x\nsettings: [1]\n", "must be a mapping"),
        ("profile: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_bad_profile_files_are_explained(tmp_path, text, said):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=said):
        load(str(path))


def test_missing_profile_file(tmp_path):
    with pytest.raises(SettingsError, match="no profile file"):
        load(str(tmp_path / "none.yaml"))


leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
names = st.sampled_from(
    ["pgd", "eps", "n", "data", "name", "training", "standard", "resnet18", "x"]
)
trees = st.recursive(leaves, lambda inner: st.dictionaries(names, inner, max_size=3), max_leaves=6)


@checks(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(names, trees, max_size=3))
def test_whatever_is_given_loads_or_is_explained(overrides):
    try:
        load("smoke", overrides)
    except SettingsError as error:
        assert str(error)


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        load("smoke").pgd.steps = 3
