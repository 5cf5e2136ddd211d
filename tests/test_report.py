import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from resnet_repro import report, terminal
from resnet_repro.analysis.page import FIGURE_FILES
from resnet_repro.errors import UserError, command
from resnet_repro.experiment import load

NAME = "degradation-digits"


@pytest.fixture(scope="session")
def rendered_once(write_data, degradation, tmp_path_factory):
    place = tmp_path_factory.mktemp("results")
    write_data(load(NAME), place / NAME, degradation)
    report.render(NAME, place)
    return place


@pytest.fixture
def results(rendered_once, tmp_path):
    """A results folder with one experiment, rendered."""
    return Path(shutil.copytree(rendered_once, tmp_path / "results"))


@pytest.fixture
def tiny(write_data, tmp_path):
    """A results folder with a smaller experiment, not rendered."""
    write_data(load("tiny"), tmp_path / "tiny", lambda settings: {"errors": 60.0 + settings["seed"]})
    return tmp_path


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_report_gives_verdicts_tables_figures_and_pages(results, capsys):
    assert report.main(["--results", str(results)]) == 0
    files = {path.name for path in (results / NAME).iterdir()}
    kinds = {"md", "tex", "csv"}
    expected = {"README.md", "data", "manifest.json", "verdicts-column.tex", "errors-column.tex"}
    expected |= {"report.html", "report-runs.js", "report-points.js"}
    expected |= {f"{name}.{kind}" for name in ("verdicts", "errors") for kind in kinds}
    expected |= {f"{figure.name}{rest}" for figure in load(NAME).figures for rest in (".png", *FIGURE_FILES.values())}
    assert files == expected
    page = (results / NAME / "README.md").read_text()
    for word in (
        load(NAME).question,
        "Data set: digits",
        "![Error by depth (digits)](depth.png)",
        "| 0123abc",
        "ab" * 32,
    ):
        assert word in page
    assert "48 of 48 planned runs are measured" in page
    shown = capsys.readouterr().out
    assert shown.count("yours") == shown.count("ours ") // 2 == len(load(NAME).claims)
    for file in ("curves.png", "errors.md", "README.md"):
        assert str(results / NAME / file) in shown
    assert "\x1b" not in shown  # not a terminal


def test_the_overview_has_every_verdict(results):
    verdicts = report.render(NAME, results)
    overview = (results / "README.md").read_text()
    assert all(v.says in overview for v in verdicts)
    assert f"{len(verdicts)} claims: {len(verdicts)} supported." in overview


def test_what_is_up_to_date_is_not_rendered_again(results):
    times = {p: p.stat().st_mtime_ns for p in results.rglob("*")}
    verdicts = report.render(NAME, results)
    assert {p: p.stat().st_mtime_ns for p in results.rglob("*")} == times
    assert len(verdicts) == len(load(NAME).claims)


def test_new_data_are_rendered_again(results, write_data):
    write_data(load(NAME), results / NAME, lambda settings: {"errors": 1.0})
    verdicts = {v.claim: v.verdict for v in report.render(NAME, results)}
    assert verdicts["plain-56-above-20"] == "inconclusive"
    assert verdicts["resnet-56-trains"] == "supported"


def test_missing_runs_are_named_and_leave_claims_incomplete(write_data, tiny):
    def outcome(settings):
        return None if settings["depth"] == 8 and settings["seed"] == 1 else {"errors": 1.0}

    write_data(load("tiny"), tiny / "tiny", outcome)
    assert [(v.verdict, v.missing, v.n) for v in report.render("tiny", tiny)] == [("incomplete", 1, 1)]
    page = (tiny / "tiny" / "README.md").read_text()
    assert "6 of 8 planned runs are measured" in page
    assert "Missing: `plain8-s1-" in page


def test_runs_computed_in_different_ways_are_said_on_the_page(write_data, tiny):
    write_data(load("tiny"), tiny / "tiny", lambda s: {"errors": 50.0, "threads": 1 + s["seed"] % 2})
    report.render("tiny", tiny)
    assert "not all computed in one way (threads 1 and 2)" in (tiny / "tiny" / "README.md").read_text()


def test_the_first_run_alone_gives_a_report(write_data, tiny):
    write_data(load("tiny"), tiny / "tiny", lambda s: {"errors": 1.0} if s["depth"] == 14 and s["seed"] == 0 else None)
    assert [v.verdict for v in report.render("tiny", tiny)] == ["incomplete"]


def test_a_stale_file_is_removed_and_a_file_of_the_reader_is_not(results):
    folder = results / NAME
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "old-figure.png").write_bytes(b"drawn by an earlier version")
    manifest["outputs"]["old-figure.png"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "notes.txt").write_text("mine")
    report.render(NAME, results)
    assert not (folder / "old-figure.png").exists()
    assert (folder / "notes.txt").exists()
    assert (folder / "data" / "runs.csv").exists()


def test_a_manifest_that_cannot_be_read_leads_to_rendering(results):
    expected = content(results)
    (results / NAME / "manifest.json").write_text("{")
    (results / NAME / "errors.csv").write_text("")
    report.render(NAME, results)
    assert content(results) == expected


def test_changed_code_renders_again_and_leaves_a_manifest_of_the_data_as_it_was(results, monkeypatch):
    manifest = (results / NAME / "manifest.json").read_bytes()
    figure = results / NAME / "depth.png"
    before = figure.stat().st_mtime_ns
    monkeypatch.setattr("resnet_repro.report._code", lambda: {"conf/config.yaml": "0" * 64})
    report.render(NAME, results)
    assert figure.stat().st_mtime_ns > before
    assert (results / NAME / "manifest.json").read_bytes() == manifest


def test_verify_passes_on_what_was_rendered_and_changes_nothing(results, capsys):
    before = content(results)
    assert report.main(["--results", str(results), "--verify"]) == 0
    assert content(results) == before
    assert "every file follows from the data" in capsys.readouterr().out


def test_verify_names_each_file_that_differs_is_missing_or_is_extra(results, capsys):
    folder = results / NAME
    flipped = bytearray((folder / "depth.png").read_bytes())
    flipped[-20] ^= 1
    (folder / "depth.png").write_bytes(flipped)
    (folder / "errors.tex").unlink()
    (folder / "notes.txt").write_text("mine")
    (results / "README.md").write_text("nothing")
    assert report.main(["--results", str(results), "--verify"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{folder / 'depth.png'} differs from what the data give",
        f"{folder / 'errors.tex'} is missing",
        f"{folder / 'notes.txt'} is extra: nothing makes it",
        f"{results / 'README.md'} differs from what the data give",
    ]


def test_verify_notices_a_changed_measurement_and_data_of_no_experiment(results, capsys):
    path = results / NAME / "data" / "runs.csv"
    path.write_text(path.read_text().replace(",7.25,", ",7.26,", 1))  # the seconds of one run
    (results / "forgotten" / "data").mkdir(parents=True)
    assert report.main(["--results", str(results), "--verify"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{results / NAME / name} differs from what the data give" for name in ("report-runs.js", "manifest.json")
    ] + [
        f"{results / 'forgotten'} belongs to no experiment",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such"], "no experiment 'no-such'"),
        (["tiny"], "experiment tiny has no data"),
        ([], "no experiment has data"),
    ],
)
def test_a_mistake_is_said_in_one_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        command(lambda: report.main([*arguments, "--results", str(tmp_path)]))
    said = capsys.readouterr().err.strip() or end.value.code
    assert said.startswith(f"error: {message}")
    assert len(said.splitlines()) == 1


def test_one_experiments_mistake_leaves_the_others_their_report(results, write_data, capsys):
    write_data(load("tiny"), results / "tiny", lambda s: {"errors": 50.0, "data_sha256": str(s["seed"]) * 64})
    assert report.main(["tiny", NAME, "--results", str(results)]) == 1
    captured = capsys.readouterr()
    assert "runs on digits saw different data" in captured.err
    assert "A 56-layer plain net" in captured.out


def test_another_process_elsewhere_with_other_settings_writes_the_same_bytes(results, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    for file in ("runs.csv", "points.csv.gz"):
        (other / NAME / "data").mkdir(parents=True, exist_ok=True)
        (other / NAME / "data" / file).write_bytes((results / NAME / "data" / file).read_bytes())
    command = [sys.executable, "-m", "resnet_repro.report", "--results", str(other)]
    (other / "matplotlibrc").write_text("lines.linewidth: 9\nfont.size: 30\n")
    settings = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "MATPLOTLIBRC": str(other), "SOURCE_DATE_EPOCH": "9"}
    subprocess.run(command, cwd=other, env=os.environ | settings, check=True, capture_output=True)
    (other / "matplotlibrc").unlink()
    assert content(other) == content(results)


def modules_after(code, among):
    code += f"; import sys; print(*sorted({among!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_report_starts_without_torch_pandas_or_matplotlib():
    assert modules_after("import resnet_repro.report", {"torch", "pandas", "matplotlib", "scipy"}) == ""


def test_rendering_imports_neither_torch_nor_scipy_stats(tiny):
    code = f"from pathlib import Path; from resnet_repro import report; report.render('tiny', Path({str(tiny)!r}))"
    heavy = {"torch", "pytorch_lightning", "wandb", "scipy.stats", "matplotlib.pyplot"}
    assert modules_after(code, heavy | {"pandas"}) == "pandas"


def test_data_that_were_edited_after_they_were_collected_are_refused_in_one_line(results, capsys):
    data = results / NAME / "data"
    sums = [
        f"{hashlib.sha256((data / name).read_bytes()).hexdigest()}  {name}" for name in ("runs.csv", "points.csv.gz")
    ]
    (data / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    assert report.main([NAME, "--results", str(results)]) == 0
    (data / "points.csv.gz").write_bytes((data / "points.csv.gz").read_bytes()[:-100])
    capsys.readouterr()
    assert report.main([NAME, "--results", str(results)]) == 1
    assert f"error: {data / 'points.csv.gz'} is not as it was collected" in capsys.readouterr().err.splitlines()[0]
    with pytest.raises(UserError, match="is not as it was collected"):
        report.main([NAME, "--results", str(results), "--verify"])


def repacked(content, old, new):
    return gzip.compress(gzip.decompress(content).replace(old, new, 1))


DAMAGE = {
    "runs.csv": {
        "cut": lambda content: content[:-100],
        "cut in its head": lambda content: content[:50],
        "empty": lambda content: b"",
        "of other columns": lambda content: content.replace(b"run_id", b"run", 1),
        "no text": lambda content: b"\xff\xfe" + content,
        "a word for a number": lambda content: content.replace(b",0123abc,", b",,").replace(b",1000,", b",many,", 1),
    },
    "points.csv.gz": {
        "cut": lambda content: content[:-3],
        "empty": lambda content: b"",
        "no archive": lambda content: b"run_id" + content,
        "of other columns": lambda content: repacked(content, b"run_id", b"run"),
        "a word for a number": lambda content: repacked(content, b",train", b"x,train"),
    },
}


@pytest.mark.parametrize(("name", "how"), [(name, how) for name, hows in DAMAGE.items() for how in hows])
def test_data_that_are_damaged_and_have_no_checksums_are_refused_in_one_line(tiny, name, how):
    path = tiny / "tiny" / "data" / name
    path.write_bytes(DAMAGE[name][how](path.read_bytes()))
    with pytest.raises(UserError) as caught:
        report.render("tiny", tiny)
    assert str(caught.value).startswith(f"{path} is damaged (")
    assert "\n" not in str(caught.value)


def test_what_collect_writes_is_what_report_reads(tmp_path):
    from resnet_repro import records
    from resnet_repro.collect import collect_runs
    from resnet_repro.metrics import METRICS, SHARES
    from resnet_repro.planning import plan

    planned = plan(load("tiny"))
    for p in planned:
        p.run.env.runs_dir = str(tmp_path / "runs")
        place = records.folder(p.run, p.id)
        records.write_points(
            place, [(20, "train_error_running", None, None, 70.0), (40, "test_error", None, None, 60.0)]
        )
        record = {"status": "failed", "status_flags": dict.fromkeys(SHARES, False) | {"failed": True}}
        record |= {"metrics": dict.fromkeys(METRICS, 60.0 + p.run.seed), "parameters": 7, "diverged_step": None}
        origin = {"seconds": 1.0, "commit": "12345678", "device": "cpu", "torch": "2.13.0", "data_sha256": "0" * 64}
        records.write(place, record | {"provenance": origin})
    assert collect_runs(planned, tmp_path / "results" / "tiny" / "data") == (8, 0)
    (verdict,) = report.render("tiny", tmp_path / "results")
    assert (verdict.estimate, verdict.n, verdict.failed) == (60.5, 2, 2)
    assert "12345678" in (tmp_path / "results" / "tiny" / "README.md").read_text()


def test_what_comes_next_is_an_experiment_that_is_not_finished_here(results, capsys, monkeypatch):
    monkeypatch.delenv("MAKELEVEL", raising=False)
    runs = results / NAME / "data" / "runs.csv"
    terminal.say_what_next(load("tiny"), 0, results)
    runs.write_text("".join(runs.read_text().splitlines(keepends=True)[:-1]))
    terminal.say_what_next(load("tiny"), 0, results)
    commands = [line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.startswith("next")]
    assert commands == ["batchnorm-digits", NAME]
