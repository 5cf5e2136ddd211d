"""Publishing: only what others can make again takes the place of the committed data."""

import subprocess
from dataclasses import replace

import pytest

from resnet_repro import experiment, project, publish, report
from resnet_repro.analysis import history
from resnet_repro.analysis.verdicts import read_verdicts
from resnet_repro.collect import write_with_sums
from resnet_repro.errors import UserError
from resnet_repro.experiment import load

COMMIT = "0123456789ab"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with the tiny experiment, committed, and its folders for what is measured and what is published."""
    experiments = tmp_path / "experiments"
    experiments.mkdir()
    tiny = (project.CONF.parent / "experiments" / "tiny.yaml").read_text(encoding="utf-8").replace("smoke: true\n", "")
    tiny = tiny.replace("seed: [0, 1]", "seed: [0, 1, 2, 3, 4]")
    (experiments / "tiny.yaml").write_text(tiny, encoding="utf-8")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "experiments")
    git(tmp_path, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-q", "-m", "x")
    monkeypatch.setattr(project, "EXPERIMENTS", (experiments,))
    return tmp_path


def git(folder, *words):
    subprocess.run(["git", "-C", str(folder), *words], check=True)


def measure(checkout, write_data, **changes):
    def outcome(settings):
        return None if changes.get("without") == settings["seed"] else {"errors": 50.0, "commit": COMMIT, **told}

    told = {k: v for k, v in changes.items() if k != "without"}
    write_data(load("tiny"), checkout / "local" / "tiny", outcome)


def with_sums(data):
    write_with_sums(data, {name: (data / name).read_bytes() for name in ("runs.csv", "points.csv.gz")})


def published(checkout):
    publish.publish("tiny", checkout / "local", checkout / "results")


def test_what_was_measured_by_committed_code_is_published_and_rendered(checkout, write_data):
    measure(checkout, write_data)
    published(checkout)
    data = checkout / "results" / "tiny" / "data"
    assert (data / "runs.csv").read_bytes() == (checkout / "local" / "tiny" / "data" / "runs.csv").read_bytes()
    assert report.verify(["tiny"], checkout / "results") == []


def test_a_later_measurement_takes_the_place_of_the_committed_one_and_what_that_said_is_kept(checkout, write_data):
    for errors in (50.0, 40.0, 40.0, 30.0):
        measure(checkout, write_data, errors=errors)
        with_sums(checkout / "local" / "tiny" / "data")
        published(checkout)
    assert report.verify(["tiny"], checkout / "results") == []
    kept = history.earlier(checkout / "results" / "tiny")
    assert [(row["estimate"], row["verdict"], row["commit"]) for row in kept] == [
        ("50.0", "supported", COMMIT),
        ("40.0", "supported", COMMIT),
    ]
    page = (checkout / "results" / "tiny" / "README.md").read_text(encoding="utf-8")
    assert "## Earlier measurements" in page
    assert page.count("50.00 [50.00, 50.00]") == page.count("40.00 [40.00, 40.00]") == 1
    card = (checkout / "results" / "tiny" / "report.html").read_text(encoding="utf-8").partition("<dt>earlier</dt>")[2]
    until = kept[0]["until"]
    then = [f"supported until {until}, {error} [{error}, {error}], n = 5" for error in ("50.00", "40.00")]
    assert card.partition("</dd>")[0] == f"<dd>{'; '.join(then)}"
    (now,) = read_verdicts(checkout / "results" / "tiny" / "verdicts.csv")
    first, then = history.of_claim(kept, replace(now, says="It learns.")).split("; ")
    assert first.endswith(f"n = 5 (as: {now.says.rstrip('.')})")
    assert then.endswith("n = 5")


def test_claims_that_the_commit_of_their_runs_does_not_hold_are_refused(checkout, write_data):
    head = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    spec = load("tiny")
    mark = experiment.digest(spec.claims[0], [range(5)])
    measure(checkout, write_data, claims=mark)
    with pytest.raises(UserError, match=f"commit {COMMIT} were told of claims, and that commit has no tiny.yaml"):
        published(checkout)
    measure(checkout, write_data, claims=mark, commit=head.stdout[:12])
    published(checkout)
    (verdict,) = read_verdicts(checkout / "results" / "tiny" / "verdicts.csv")
    assert (verdict.standing, verdict.since) == ("registered", head.stdout[:12])
    page = (checkout / "results" / "tiny" / "README.md").read_text(encoding="utf-8")
    assert f"registered at commit {head.stdout[:12]}" in page


def test_data_that_were_edited_after_they_were_collected_are_refused(checkout, write_data):
    measure(checkout, write_data)
    data = checkout / "local" / "tiny" / "data"
    with_sums(data)
    (data / "runs.csv").write_bytes((data / "runs.csv").read_bytes().replace(b"50.0", b"40.0"))
    with pytest.raises(UserError, match=r"runs\.csv"):
        published(checkout)
    assert not (checkout / "results" / "tiny").exists()


def test_an_experiment_that_only_tries_everything_out_is_refused(checkout):
    path = checkout / "experiments" / "tiny.yaml"
    path.write_text("smoke: true\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(UserError, match="no findings to publish"):
        published(checkout)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"without": 1}, r"4 of 20 runs of tiny are missing .* train them first: "),
        ({"commit": f"{COMMIT}-dirty"}, r"20 runs were trained by code that is not committed .*commit the code"),
        ({"commit": "unknown"}, r"commit unknown"),
    ],
)
def test_incomplete_data_and_data_of_uncommitted_code_are_refused(checkout, write_data, changes, message):
    measure(checkout, write_data, **changes)
    with pytest.raises(UserError, match=message):
        published(checkout)
    assert not (checkout / "results").exists()


def test_an_experiment_that_is_not_committed_as_it_is_is_refused(checkout, write_data):
    measure(checkout, write_data)
    with open(checkout / "experiments" / "tiny.yaml", "a") as file:
        file.write("# another claim, perhaps\n")
    with pytest.raises(UserError, match=r"tiny\.yaml is not committed as it is"):
        published(checkout)
    assert not (checkout / "results").exists()


def test_without_data_the_sweep_is_named(checkout):
    with pytest.raises(UserError, match=r"tiny has no data in .*measure it first: .*sweep.*tiny"):
        published(checkout)
