"""What the README says beside its numbers: PGD on AutoAttack's images, and errata."""

import pandas as pd

from book import readme
from tests.helpers.books import write_notebook
from tests.helpers.known_run import make_run


def rows(quantity, **found):
    return pd.DataFrame(
        [
            {"model": f"resnet18-{name}", "quantity": quantity, "ours": ours, "n": n}
            for name, (ours, n) in found.items()
        ]
    )


def test_pgd_on_autoattacks_images_stands_beside_it():
    shown = rows(
        "pgd_accuracy", standard=(0.0, 1000), adversarial=(42.0, 1000), aligned=(1.0, 1000)
    )
    few = rows("pgd_accuracy", standard=(0.4, 250), adversarial=(35.6, 250))
    attacked = rows("autoattack_accuracy", standard=(0.0, 250), adversarial=(32.4, 250))
    told = readme._same_images(pd.concat([few, attacked]), shown)
    assert "AutoAttack's 250 alone" in told
    assert told.endswith("0.4 % (ResNet-18, standard), 35.6 % (ResNet-18, adversarial).")
    assert "32.4" not in told and "aligned" not in told


def test_nothing_is_said_where_both_are_on_the_same_images():
    table = rows("pgd_accuracy", standard=(0.0, 250), adversarial=(35.6, 250))
    assert readme._same_images(table, table) == ""


def test_errata_are_counted_and_pointed_to(tmp_path):
    run = make_run(tmp_path, profile="cpu")
    assert readme._errata(run) == []
    write_notebook(run.directory / "executed" / "02_two.ipynb", "1")
    (run.directory / "errata.yaml").write_text("- pages: [02_two]\n  text: wrong\n")
    assert readme._errata(run)[1] == (
        "Found wrong since this run: one point, in "
        "[errata.yaml](book/published/cpu/seed0/errata.yaml) and on its pages."
    )
