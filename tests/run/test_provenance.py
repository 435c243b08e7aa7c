"""Who made a result: versions, and the revision of the code that decides it."""

import ast
import json
import subprocess
import sys
from importlib import metadata

import torch

from rslib.run import provenance as provenances
from rslib.run.provenance import provenance
from rslib.settings import PROJECT


def test_provenance_is_json_and_names_device_and_versions():
    made = provenance(torch.device("cpu"))
    assert json.loads(json.dumps(made)) == made
    assert made["device"].startswith("CPU")
    assert made["torch"] == torch.__version__
    assert all(made[package] == metadata.version(package) for package in provenances.PACKAGES)


# These read, write, lock and show; no number depends on them.
HARMLESS = {"filelock", "tqdm", "pyarrow", "pydantic", "pydantic-core", "pyyaml", "ipython"}


def test_every_package_that_makes_results_has_its_version_kept():
    distributions, used = metadata.packages_distributions(), set()
    for room in provenances.MAKERS:
        place = PROJECT / "rslib" / room
        for path in [place] if place.is_file() else place.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    used |= {name.name.partition(".")[0] for name in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    used.add(node.module.partition(".")[0])
    used -= {*sys.stdlib_module_names, "rslib"}
    owners = {distributions[each][0].lower().replace("_", "-") for each in used}
    assert owners - HARMLESS <= {"torch", *provenances.PACKAGES}


def test_the_revision_is_the_last_that_changed_the_code(tmp_path, monkeypatch):
    def git(*arguments):
        names = ["-c", "user.name=n", "-c", "user.email=e"]
        command = ["git", "-C", str(tmp_path), *names, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def revision():
        provenances.revision.cache_clear()
        return provenances.revision(tmp_path)

    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    try:
        monkeypatch.delenv("RSLIB_REVISION", raising=False)
        assert revision() == "unknown"
        # Said by whoever copied the code; a repository knows better.
        monkeypatch.setenv("RSLIB_REVISION", "0123456789")
        assert revision() == "0123456789"
        git("init", "-q")
        attack, table = (tmp_path / "rslib" / room / "a.py" for room in ("attacks", "report"))
        for path in (attack, table):
            path.parent.mkdir(parents=True)
            path.write_text("1")
        git("add", ".")
        git("commit", "-qm", "code")
        code = git("rev-parse", "--short=10", "HEAD")
        assert revision() == code
        # What makes pages makes no results.
        (tmp_path / "book").mkdir()
        (tmp_path / "book" / "build.py").write_text("# a comment")
        table.write_text("1  # a comment")
        git("add", ".")
        assert revision() == code
        git("commit", "-qm", "pages")
        assert revision() == code
        attack.write_text("2  # a comment")
        assert revision() == f"{code}+changes"
    finally:
        provenances.revision.cache_clear()
