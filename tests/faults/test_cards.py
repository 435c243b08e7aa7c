"""Scorecards under kills, full disks, company, models that fail late, and in others' folders."""

import errno
import os
import shutil
import signal
import time

import pytest
import torch
from torch import nn

from rslib.__main__ import main
from rslib.scorecard import ScorecardError, folders, load
from rslib.store import records
from rslib.store.records import RecordError
from tests.faults import jobs
from tests.faults.refusals import contents
from tests.faults.victims import Victim, content, count_changes, torn, unfinished

pytestmark = pytest.mark.slow
OWN = folders.OWN
FILES = ("scorecard.json", "index.html", "scorecard.png")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A folder ``scored`` with a scorecard that nothing happened to."""
    root = tmp_path_factory.mktemp("cards") / "scored"
    Victim(jobs.score, root).finish()
    return root


@pytest.fixture(scope="module")
def replaced(scored):
    """The same, and what its folder holds before and after it is replaced."""
    root = scored.with_name("replaced")
    shutil.copytree(scored / "card", root / "card")
    before = shown(root)
    changes = count_changes(jobs.replace_card, root)
    return before, shown(root), changes


def shown(root):
    """Digests of what a reader of a card's folder sees."""
    found = contents(root / "card").items()
    return {path.relative_to(root / "card"): it for path, it in found if OWN not in path.parts}


def measured(root):
    """What a card says of the model, without seconds and dates."""
    folder = root / "card"
    found = {path.name: content(path) for path in (folder / "records").glob("*.parquet")}
    document = content(folder / "scorecard.json")
    return found | {name: document[name] for name in ("axes", "reliability", "model", "data")}


def finished(root):
    """The axes that are kept, as they lie."""
    return {
        path: path.read_bytes()
        for path in (root / "card" / OWN).rglob("*-*.*")
        if path.parent.name == "guest" and path.suffix in {".json", ".parquet"}
    }


def start(kept, root):
    """A copy of a scorecard without its axes, so that they are made again."""
    shutil.copytree(kept / "card", root / "card", ignore=shutil.ignore_patterns("axes"))


# Kills


def test_scoring(scored, tmp_path, chance, tally, every):
    count, expected = tally("killed: scorecard"), measured(scored)
    started = time.monotonic()
    changes = count_changes(jobs.score, tmp_path / "counted")
    seconds = time.monotonic() - started
    assert changes > 60 and measured(tmp_path / "counted") == expected
    at_times, at_changes = (14, 14) if every else (1, 1)
    moments = [("after", chance.uniform(0, seconds)) for _ in range(at_times)]
    moments += [("at", step) for step in sorted(chance.sample(range(changes), at_changes))]
    for number, (kind, when) in enumerate(moments):
        root = tmp_path / f"try{number}"
        older = number % 2 == 1
        if older:
            start(scored, root)
        before = shown(root) if older else {}
        victim = Victim(jobs.score, root, die_at=when if kind == "at" else None)
        if kind == "after":
            time.sleep(when)
            victim.kill()
        else:
            victim.wait()
        lost = torn(root)
        kept = finished(root)
        if older and not (root / "card" / OWN / "next" / "written.json").exists():
            now = shown(root)
            if now != before and measured(root) != expected:
                lost.append("the older card is neither there nor replaced")
        again = Victim(jobs.score, root)
        wrong = []
        if again.wait():
            lost.append(f"it does not go on: {again.told()}")
        else:
            lost += unfinished(root)
            lost += [f"{p.name} was made again" for p in kept if finished(root).get(p) != kept[p]]
            wrong += ["it differs"] * (measured(root) != expected)
            if kept and "taken from an earlier call" not in again.told():
                wrong.append("it does not say what was taken")
        count.add(f"{kind} {when}", lost=lost, wrong=wrong)
        shutil.rmtree(root)
    assert not count.faults, "\n".join(count.faults)


def test_replacing(scored, replaced, chance, tally, every):
    before, after, changes = replaced
    assert before != after and changes > 15
    count = tally("killed: scorecard replaced")
    steps = range(changes) if every else sorted(chance.sample(range(changes), 3))
    for step in steps:
        root = scored.with_name(f"replaced{step}")
        shutil.copytree(scored / "card", root / "card")
        victim = Victim(jobs.replace_card, root, die_at=step)
        assert victim.wait() == -9, victim.told()
        now = shown(root)
        lost = torn(root)
        for name in before.keys() | after.keys():
            if now.get(name) not in (before.get(name), after.get(name)):
                lost.append(f"{name} is neither the old one nor the new one")
        passing = (root / "card" / OWN / "next" / "written.json").exists()
        if not passing and now not in (before, after):
            lost.append("old and new files lie together, and nothing says so")
        Victim(jobs.replace_card, root).finish()
        lost += unfinished(root)
        left = [path.name for path in (root / "card" / OWN).glob("next*")]
        count.add(f"at {step}", lost=lost + left, wrong=["it differs"] * (shown(root) != after))
        shutil.rmtree(root)
    assert not count.faults, "\n".join(count.faults)


# Full disks


def test_a_disk_that_fills(scored, replaced, tmp_path, chance, tally, every, monkeypatch):
    # Where space is given only when data reaches the disk; no mount is needed for this.
    before, after, _ = replaced
    count, kept = tally("disk full: scorecard"), scored
    real, flushed = os.fsync, []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(handle) or real(handle))
    whole = kept.with_name("counted")
    shutil.copytree(kept / "card", whole / "card")
    jobs.replace_card(whole)
    assert shown(whole) == after
    calls = range(len(flushed))
    for at in calls if every else sorted(chance.sample(calls, 3)):
        root = kept.with_name(f"full{at}")
        shutil.copytree(kept / "card", root / "card")
        done = []

        def full(handle, done=done, at=at):
            done.append(handle)
            if len(done) > at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(handle)

        monkeypatch.setattr(os, "fsync", full)
        lost, said = [], ""
        try:
            jobs.replace_card(root)
        except RecordError as error:
            said = " ".join([str(error), *getattr(error, "__notes__", ())])
        monkeypatch.setattr(os, "fsync", real)
        now = shown(root)
        if said:
            lost += ["it knows no way out"] * ("free some space" not in said)
            lost += ["the older card is gone"] * (now != before)
        elif now != after:
            lost.append("it says nothing of what is missing")
        lost += unfinished(root) + torn(root)
        jobs.replace_card(root)
        count.add(f"flush {at}", lost=lost, wrong=["it differs"] * (shown(root) != after))
        shutil.rmtree(root)
    assert not count.faults, "\n".join(count.faults)


def test_a_full_disk_is_found_before_anything_is_measured(small_disk, tally):
    disk = small_disk(1)
    (disk / "ballast").write_bytes(bytes(600_000))
    with pytest.raises(ScorecardError, match="No space left.*Nothing was measured: free some"):
        jobs.score(disk)
    tally("disk full: scorecard").add("at the start")


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_measured(
    tmp_path, read_only, tally
):
    (tmp_path / "card").mkdir()
    context = read_only(tmp_path / "card")
    with context, pytest.raises(ScorecardError, match="cannot write in .*choose another folder"):
        jobs.score(tmp_path)
    tally("disk full: scorecard").add("read-only")


# Company


def test_two_scorecards_at_once(scored, tmp_path, tally):
    count, expected, root = tally("company: scorecards"), measured(scored), tmp_path / "shared"
    first = Victim(jobs.score, root)
    first.until((root / "card" / OWN / "card.holder").exists, "lock")
    os.kill(first.process.pid, signal.SIGSTOP)  # so that it is not done before the second starts
    link = tmp_path / "again"
    link.symlink_to(root)
    second = Victim(jobs.score, link)
    second.until(lambda: f"(process {first.process.pid} on" in second.told(), "who holds it")
    os.kill(first.process.pid, signal.SIGCONT)
    first.finish()
    second.finish()
    lost = torn(root) + unfinished(root)
    wrong = ["it differs"] * (measured(root) != expected)
    wrong += ["it was made twice"] * ("taken from an earlier call" not in second.told())
    count.add("two at once", lost=lost, wrong=wrong)
    killed = Victim(jobs.score, tmp_path / "killed")
    killed.until((tmp_path / "killed" / "card" / OWN / "card.holder").exists, "lock")
    killed.kill()
    next_one = Victim(jobs.score, tmp_path / "killed")
    next_one.finish()
    wrong = ["it waits for the dead"] * ("waiting" in next_one.told())
    count.add("holder killed", wrong=wrong)
    assert not count.faults, "\n".join(count.faults)


# Folders of others


def put(folder, name, text="mine"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def link(folder, name, outside):
    outside.mkdir(exist_ok=True)
    put(outside, "clean.parquet")
    folder.mkdir(exist_ok=True)
    if name:
        (folder / name).symlink_to(outside)
        return
    put(folder, "index.html")
    folder.rename(folder.with_name("target"))
    folder.symlink_to(folder.with_name("target"))


# What a folder holds, and whether a scorecard may be written there without and with force.
PLACES = {
    "a page alone": (lambda it: put(it, "index.html"), False, False),
    "a picture alone": (lambda it: put(it, "scorecard.png"), False, False),
    "records alone": (lambda it: put(it, "records/clean.parquet"), False, False),
    "other records": (lambda it: put(it, "records/mine.parquet"), False, True),
    "records of no file": (lambda it: put(it, "records", "a list"), False, False),
    "an empty folder of records": (lambda it: (it / "records").mkdir(parents=True), False, True),
    "a document of others": (lambda it: put(it, "scorecard.json", "{}"), False, False),
    "notes": (lambda it: put(it, "notes.txt"), False, True),
    "a hidden file": (lambda it: put(it, ".git/config"), False, True),
    "our name for something else": (lambda it: put(it, f"{OWN}/thesis.tex"), False, False),
    "our name for a file": (lambda it: put(it, OWN), False, False),
    "a list of others": (lambda it: put(it, f"{OWN}/written.json", '{"a": 1}'), False, False),
    "a link to records": (lambda it: link(it, "records", it.with_name("x")), False, False),
    "a link for a page": (lambda it: link(it, "index.html", it.with_name("x")), False, False),
    "a link to our folder": (lambda it: link(it, OWN, it.with_name("x")), False, False),
    "a link to a page's folder": (lambda it: link(it, "", it.with_name("x")), False, False),
    "nothing": (lambda it: it.mkdir(), True, True),
    "a temporary file": (lambda it: put(it, ".scorecard.json.x1.tmp"), False, True),
}


def claim(folder, card, frame, **options):
    of = folders.identity(card.model, card.data, card.profile, card.seed)
    with folders.claimed(folder, of, "work", **options):
        folders.write(folder, card, {"clean": frame})


@pytest.fixture(scope="module")
def quick_card(scored):
    """A card and a record, drawn as an empty picture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rslib.scorecard.picture.draw", lambda card: Blank())
        folder = scored / "card"
        frame = records.read_record(folder / "records" / "clean.parquet")
        yield folders.read(folder), frame


class Blank:
    def savefig(self, path, **options):
        path.write_bytes(b"PNG")


def try_folder(root, folder, card, frame, force):
    """Whether a card was written, and what of others' is lost."""
    before = contents(root)
    try:
        claim(folder, card, frame, force=force)
        done = True
    except ScorecardError as error:
        done = False
        lost = ["it names no file"] * (str(folder) not in str(error))
        lost += ["it wrote"] * (contents(root) != before)
        return done, lost
    after = contents(root)
    return done, [f"{path} is lost" for path in before if after.get(path) != before[path]]


@pytest.mark.parametrize("force", [False, True], ids=["", "force"])
@pytest.mark.parametrize("place", PLACES)
def test_a_folder_of_others(place, force, quick_card, tmp_path, tally):
    make, *allowed = PLACES[place]
    make(tmp_path / "out")
    done, lost = try_folder(tmp_path, tmp_path / "out", *quick_card, force)
    count = tally("folders: scorecard")
    count.add(place, lost=lost, wrong=["allowed" if done else "refused"] * (done != allowed[force]))
    assert not count.faults, "\n".join(count.faults)
    if done:
        assert folders.read(tmp_path / "out") == quick_card[0]


@pytest.mark.parametrize("which", ["home", "current", "around", "root", "package", "within", "own"])
def test_no_scorecard_is_put_into(which, quick_card, tmp_path, tally, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "a" / "home"))
    (tmp_path / "a" / "home").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    package = folders.Path(folders.__file__).parents[1]
    folder = {
        "home": tmp_path / "a" / "home", "current": tmp_path / "b" / ".." / "b",
        "around": tmp_path / "a", "root": folders.Path("/"), "package": package,
        "within": package / "scorecard" / "new", "own": tmp_path / "c" / OWN / "new",
    }[which]  # fmt: skip
    before = contents(tmp_path)
    with pytest.raises(ScorecardError, match="choose a folder of its own"):
        claim(folder, *quick_card, force=True)
    tally("folders: scorecard").add(which, lost=["it wrote"] * (contents(tmp_path) != before))


def change(root, chance):
    """Do what a user may do in the folder of a card."""
    card = root / "card"
    way = chance.choice(["notes", "folder", "record", "edit", "link", "gone", "swap", "nested"])
    if way == "notes":
        put(card, chance.choice(["notes.md", "records/notes.md", "records/mine.parquet"]))
    elif way == "folder":
        put(card, f"{chance.choice(['figures', 'records/old', 'index'])}/x.txt")
    elif way in {"edit", "record", "swap"}:
        name = "records/clean.parquet" if way == "record" else chance.choice(FILES)
        blob = bytearray((card / name).read_bytes())
        blob[chance.randrange(len(blob))] ^= 1 + chance.randrange(255)
        (card / name).write_bytes(blob if way != "swap" else blob[: len(blob) // 2])
    elif way == "link":
        name = chance.choice(FILES)
        (card / name).rename(root / "kept")
        (card / name).symlink_to(root / "kept")
    elif way == "gone":
        (card / chance.choice(FILES)).unlink()
    else:
        shutil.copytree(card, card / "nested")


def test_a_card_that_a_user_worked_in(quick_card, tmp_path, chance, tally, every):
    card, frame = quick_card
    count = tally("folders: scorecard in use")
    for number in range(60 if every else 6):
        root = tmp_path / str(number)
        claim(root / "card", card, frame)
        ours = {root / "card" / name for name in (*FILES, "records/clean.parquet")}
        written = contents(root)
        for _ in range(chance.choice([1, 1, 2])):
            change(root, chance)
        before = contents(root)
        in_the_way = any(before.get(path, written[path]) != written[path] for path in ours)
        try:
            claim(root / "card", card, frame.iloc[:7], force=number % 2 == 1)
            refused = False
        except ScorecardError:
            refused = True
        after = contents(root)
        kept = before if refused else {p: it for p, it in before.items() if p not in ours}
        kept = {
            path: it for path, it in kept.items() if path.parts[len(root.parts) + 1 :][:1] != (OWN,)
        }
        lost = [f"{path} is lost" for path, it in kept.items() if after.get(path) != it]
        wrong = ["a changed file was replaced"] * (in_the_way and not refused)
        wrong += ["it was refused"] * (refused and not in_the_way)
        count.add(str(number), lost=lost, wrong=wrong)
    assert not count.faults, "\n".join(count.faults)


# Models that fail late


class Odd(Exception):
    def __str__(self):
        raise RuntimeError("not even a message")


KINDS = [
    RuntimeError, ValueError, KeyError, AssertionError, MemoryError, StopIteration, OSError,
    ZeroDivisionError, NotImplementedError, Odd,
]  # fmt: skip


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, kind):
        ctx.kind = kind
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise ctx.kind("only backward")


class Late(jobs.Small):
    """A model that raises at some moment after it has answered well."""

    def __init__(self, kind, when):
        super().__init__()
        self.kind, self.when, self.calls = kind, when, 0

    def forward(self, x):
        self.calls += 1
        if self.when == "backward":
            x = Backward.apply(x, self.kind)
        late = {
            "no_grad": not torch.is_grad_enabled(),
            "grad": torch.is_grad_enabled(),
            "size": len(x) > 8,
            "odd size": len(x) == 4 and self.calls > 2,
        }
        if late.get(self.when, isinstance(self.when, int) and self.calls > self.when):
            raise self.kind("too late")
        return super().forward(x)


MOMENTS = ["backward", "no_grad", "grad", "size", "odd size", 3, 6, 20, 40]


def test_late_exceptions(tmp_path, chance, tally, every):
    count = tally("late exceptions")
    tries = [(kind, MOMENTS[n % len(MOMENTS)]) for n, kind in enumerate(KINDS * 4)]
    tries = tries[:36] if every else [(StopIteration, "size"), (Odd, 20), (KeyError, "backward")]
    for kind, when in tries:
        where = f"{kind.__name__} at {when}"
        wrong = []
        try:
            card = jobs.score(tmp_path, model=Late(kind, when), folder=None, n=10)
        except Exception as error:
            count.add(where, lost=[f"no card, but {type(error).__name__}"])
            continue
        told = [axis.reason for axis in card.axes if axis.result is None]
        told = [
            each for each in [*told, card.reliability.reason] if each and "as asked" not in each
        ]
        wrong += ["nothing is told"] * (not told)
        wrong += [f"a reason without {kind.__name__}: {told}"] * (
            kind not in (ValueError, MemoryError)
            and not any(kind.__name__ in each for each in told)
        )
        count.add(where, wrong=wrong)
    assert not count.faults, "\n".join(count.faults)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_keeps_what_is_finished(stop, tmp_path, tally, capsys, monkeypatch):
    count = tally("late exceptions")
    scored = jobs.score(tmp_path / "whole")
    from rslib.scorecard.guest import Guest

    real = Guest.made

    def made(guest, axis):
        if axis == "pgd" and guest.settings.pgd.n == 20:
            raise stop
        return real(guest, axis)

    monkeypatch.setattr(Guest, "made", made)
    with pytest.raises(stop) as stopped:
        jobs.score(tmp_path)
    (note,) = stopped.value.__notes__
    assert "no scorecard was written; finished axes are kept (clean, fgsm)" in note
    monkeypatch.undo()
    capsys.readouterr()
    card = jobs.score(tmp_path)
    assert "settings: clean, ECE, FGSM\n" in capsys.readouterr().out
    wrong = ["it differs"] * (
        [axis.result for axis in card.axes] != [axis.result for axis in scored.axes]
    )
    count.add(stop.__name__, wrong=wrong)
    assert not count.faults


def test_what_an_earlier_call_measured_is_taken_only_for_the_same(tmp_path, capsys):
    class Sharp(jobs.Small):
        """Options that neither the weights nor the printed structure tell."""

        factor = 1.0

        def forward(self, x):
            return self.factor * super().forward(x)

    def taken(model, **options):
        capsys.readouterr()
        jobs.score(tmp_path, model=model, force=True, **options)
        _, _, told = capsys.readouterr().out.partition("and settings: ")
        return told.strip().split(", ") if told else []

    everything = ["clean", "ECE", "FGSM", "PGD", "saliency overlap", "reliability verdict"]
    assert taken(Sharp()) == []
    assert taken(Sharp()) == everything
    assert taken(Sharp(), n=30) == ["clean", "ECE", "reliability verdict"]
    other = Sharp()
    other.factor = 3.0
    assert taken(other) == []
    with torch.no_grad():
        other.head.bias += 1
    assert taken(other) == []


def test_a_kept_axis_that_is_damaged_is_measured_again(tmp_path):
    first = jobs.score(tmp_path)
    for path in finished(tmp_path):
        path.write_bytes(path.read_bytes()[:-7])
    again = jobs.score(tmp_path)
    assert [axis.result for axis in again.axes] == [axis.result for axis in first.axes]


def test_modules_are_left_as_they_were(tmp_path):
    model = nn.Sequential(Late(RuntimeError, "backward"), nn.Dropout(0.1)).train()
    model[0].head.weight.requires_grad_(False)
    jobs.score(tmp_path, model=model, folder=None, n=10)
    assert model.training and model[1].training and not model[0].head.weight.requires_grad


# Names that a terminal would obey

NAME = "net\x1b[2J\r\u202eten\x9b1m"


def obeyed(text):
    return [c for c in text if c in NAME and not c.isprintable()]


def test_a_hostile_name_is_written_out_wherever_it_is_shown(tmp_path, capsys):
    class Named(jobs.Small):
        pass

    Named.__name__ = Named.__qualname__ = NAME
    source = load(Named(), run=jobs.tiny(tmp_path), name=NAME)
    card = jobs.score(tmp_path, model=source)
    told = capsys.readouterr()
    shown = [told.out, told.err, str(card), card._repr_html_(), card.model_dump_json()]
    shown.append((tmp_path / "card" / "index.html").read_text())
    assert not any(map(obeyed, shown)) and all(r"\x1b[2J" in each for each in (shown[0], card.name))


@pytest.mark.parametrize(
    "arguments",
    [
        [f"timm:{NAME}"], ["timm:test_resnet", "--weights", f"{NAME}.safetensors"],
        [f"{NAME}:make"], ["json:loads", "--path", NAME], [f"json:{NAME}"], [NAME],
        ["timm:test_resnet", "--normalize", "cifar10", "--out", f"setup.py/{NAME}"],
        ["timm:test_resnet", "--out", "~nosuchuser/card"],
    ],
    ids=ascii,
)  # fmt: skip
def test_a_refusal_is_one_line_that_a_terminal_shows(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RSLIB_RUNS", str(tmp_path / "runs"))
    (tmp_path / "setup.py").write_text("")
    assert main(["scorecard", *arguments, "--quiet"]) == 2
    told = capsys.readouterr().err
    assert not obeyed(told) and told.count("\n") == 1 and "Traceback" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["setup.py"]
