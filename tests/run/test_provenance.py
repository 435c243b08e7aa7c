"""Who made a result: versions, and the revision of the code that decides it."""

import json
import subprocess

import torch

from rslib.run import provenance as provenances
from rslib.run.provenance import provenance


def test_provenance_is_json_and_names_device_and_versions():
    made = provenance(torch.device("cpu"))
    assert json.loads(json.dumps(made)) == made
    assert made["device"].startswith("CPU")
    assert made["torch"] == torch.__version__


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
