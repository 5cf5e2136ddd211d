"""From run folders to the tables of an experiment, exactly."""

import csv
import gzip
import hashlib
import math

import pytest

from resnet_repro import records
from resnet_repro.collect import check_sums, collect_runs, mixture
from resnet_repro.config import columns
from resnet_repro.errors import UserError
from resnet_repro.metrics import METRICS, SHARES
from resnet_repro.planning import expand

ROWS = [
    (20, "lr", None, None, 0.1),
    (20, "train_loss", None, None, 1.2345678901234567),
    (40, "lr", None, None, 0.1),
    (40, "train_loss", None, None, 0.1 + 0.2),
    (40, "gradient_norm_output", 1, None, 1 / 3),
    (40, "gradient_norm_output", 2, 0.5, 2 / 3),
]
METRIC_VALUES = {name: 100 * math.sqrt(k + 2) / 7 for k, name in enumerate(METRICS)}


def finish(place, rows=ROWS, **changes):
    """Writes a finished run as training does: curves, then the record."""
    record = {
        "status": "finished",
        "status_flags": dict.fromkeys(SHARES, False),
        "metrics": METRIC_VALUES,
        "parameters": 272474,
        "diverged_step": None,
        "provenance": {"seconds": 7.125, "commit": "0123456789ab", "device": "a CPU", "torch": "2.13.0"},
    }
    records.write_points(place, [])
    records.append_points(place, rows)
    return records.write(place, record | changes)


@pytest.fixture
def planned(tmp_path):
    return expand(
        [[[f"seed={seed}", f"env.runs_dir={tmp_path / 'runs'}", "data.title='a, \"b\"'"] for seed in range(3)]]
    )


def place(plan):
    return records.folder(plan.run, plan.id)


def rows_of(path):
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def test_collecting_writes_every_setting_and_measurement_exactly(planned, tmp_path):
    for plan in planned:
        finish(place(plan))
    assert collect_runs(planned, tmp_path / "data") == (3, 0)
    runs, points = rows_of(tmp_path / "data" / "runs.csv"), rows_of(tmp_path / "data" / "points.csv.gz")
    assert [row["run_id"] for row in runs] == [plan.id for plan in planned]
    for row, plan in zip(runs, planned, strict=True):
        assert {k: row[k] for k in columns(plan.run)} == {
            k: "" if v is None else str(v) for k, v in columns(plan.run).items()
        }
        assert {name: float(row[name]) for name in METRICS} == METRIC_VALUES
        assert (row["status"], row["parameters"], row["diverged_step"]) == ("finished", "272474", "")
        assert {row[name] for name in SHARES} == {"0"}
        assert (row["commit"], row["seconds"], row["data_sha256"]) == ("0123456789ab", "7.125", "")
    expected = [
        (plan.id, step, metric, *("" if place is None else str(place) for place in (x, y)), value)
        for plan in planned
        for step, metric, x, y, value in ROWS
    ]
    assert [(r["run_id"], int(r["step"]), r["metric"], r["x"], r["y"], float(r["value"])) for r in points] == expected


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_collecting_again_writes_the_same_bytes(planned, tmp_path):
    for plan in planned:
        finish(place(plan), rows=[*ROWS, (60, "train_loss", None, None, math.nan)])
    collect_runs(planned, tmp_path / "data")
    first = contents(tmp_path / "data")
    collect_runs(planned, tmp_path / "data")
    assert contents(tmp_path / "data") == first
    for plan in planned:  # also when they are kept from before
        (place(plan) / "record.json").unlink()
    assert collect_runs(planned, tmp_path / "data") == (0, 3)
    assert contents(tmp_path / "data") == first


def test_records_replace_rows_unmeasured_rows_are_kept_unplanned_ones_dropped(planned, tmp_path):
    for plan in planned:
        finish(place(plan))
    collect_runs(planned, tmp_path / "data")
    (place(planned[0]) / "record.json").unlink()  # measured earlier, or elsewhere
    finish(place(planned[1]), rows=ROWS[:2], metrics=METRIC_VALUES | {"test_error": 50.0})  # measured again
    assert collect_runs(planned[:2], tmp_path / "data") == (1, 1)
    runs = rows_of(tmp_path / "data" / "runs.csv")
    assert [row["run_id"] for row in runs] == [planned[0].id, planned[1].id]
    assert [float(row["test_error"]) for row in runs] == [METRIC_VALUES["test_error"], 50.0]
    points = rows_of(tmp_path / "data" / "points.csv.gz")
    assert [row["run_id"] for row in points] == [planned[0].id] * 6 + [planned[1].id] * 2


def test_a_run_that_was_never_measured_has_no_row(planned, tmp_path):
    finish(place(planned[2]))
    assert collect_runs(planned, tmp_path / "data") == (1, 0)
    assert [row["run_id"] for row in rows_of(tmp_path / "data" / "runs.csv")] == [planned[2].id]


def test_collecting_nothing_leaves_the_files_alone(planned, tmp_path):
    assert collect_runs(planned, tmp_path / "data") == (0, 0)
    assert not (tmp_path / "data").exists()
    finish(place(planned[0]))
    collect_runs(planned[:1], tmp_path / "data")
    before = contents(tmp_path / "data")
    assert collect_runs(planned[1:], tmp_path / "data") == (0, 0)
    assert contents(tmp_path / "data") == before


def test_a_diverged_run_has_empty_fields_where_nothing_was_measured(planned, tmp_path):
    flags = dict.fromkeys(SHARES, False) | {"diverged": True}
    finish(
        place(planned[0]),
        rows=[(20, "train_loss", None, None, math.inf)],
        status="diverged",
        status_flags=flags,
        diverged_step=13,
        metrics=METRIC_VALUES | {"train_loss": None},
    )
    collect_runs(planned, tmp_path / "data")
    (row,) = rows_of(tmp_path / "data" / "runs.csv")
    assert (row["status"], row["diverged"], row["diverged_step"], row["train_loss"]) == ("diverged", "1", "13", "")
    (point,) = rows_of(tmp_path / "data" / "points.csv.gz")
    assert float(point["value"]) == math.inf


def test_a_damaged_record_is_not_collected(planned, tmp_path, caplog):
    for plan in planned:
        finish(place(plan))
    collect_runs(planned, tmp_path / "data")
    before = contents(tmp_path / "data")
    path = place(planned[1]) / "record.json"
    path.write_text(path.read_text().replace('"finished"', '"diverged"'))
    assert collect_runs(planned, tmp_path / "data") == (2, 1)
    assert contents(tmp_path / "data") == before
    assert planned[1].id in caplog.text


def test_no_two_columns_of_the_runs_have_one_name(planned, tmp_path):
    finish(place(planned[0]))
    collect_runs(planned, tmp_path / "data")
    header = (tmp_path / "data" / "runs.csv").read_text().splitlines()[0].split(",")
    assert len(set(header)) == len(header)


# One data set under one title -----------------------------------------------------------------------------------


def finish_on(plan, sha256):
    finish(place(plan), provenance={"seconds": 1.0, "data_sha256": sha256})


def test_runs_of_two_data_sets_are_not_collected_under_one_title(planned, tmp_path):
    for plan, sha256 in zip(planned, ("a" * 64, "a" * 64, "b" * 64), strict=True):
        finish_on(plan, sha256)
    with pytest.raises(UserError, match=f"{'a' * 10} .*{'b' * 10} .*{planned[2].id}.*data.title") as caught:
        collect_runs(planned, tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()
    assert collect_runs(planned[:2], tmp_path / "data") == (2, 0)


def test_runs_of_another_data_set_are_not_collected_beside_those_kept_from_before(planned, tmp_path):
    finish_on(planned[0], "a" * 64)
    collect_runs(planned, tmp_path / "data")
    before = contents(tmp_path / "data")
    (place(planned[0]) / "record.json").unlink()
    finish_on(planned[1], "b" * 64)
    with pytest.raises(UserError, match="saw different data"):
        collect_runs(planned, tmp_path / "data")
    assert contents(tmp_path / "data") == before


def test_two_titles_may_be_two_data_sets(tmp_path):
    planned = expand([[[f"env.runs_dir={tmp_path}/runs", f"data.title={title}"] for title in ("one", "two")]])
    for plan, sha256 in zip(planned, ("a" * 64, "b" * 64), strict=True):
        finish_on(plan, sha256)
    assert collect_runs(planned, tmp_path / "data") == (2, 0)


# Checksums -----------------------------------------------------------------------------------------------------


def test_the_checksums_are_those_of_sha256sum(planned, tmp_path):
    finish(place(planned[0]))
    collect_runs(planned, tmp_path / "data")
    lines = (tmp_path / "data" / "SHA256SUMS").read_text().splitlines()
    assert lines == [
        f"{hashlib.sha256((tmp_path / 'data' / name).read_bytes()).hexdigest()}  {name}"
        for name in ("runs.csv", "points.csv.gz")
    ]
    check_sums(tmp_path / "data")


HARM = {
    "points cut": lambda d: (d / "points.csv.gz").write_bytes((d / "points.csv.gz").read_bytes()[:-30]),
    "a run edited": lambda d: (d / "runs.csv").write_text((d / "runs.csv").read_text().replace("finished", "diverged")),
    "points gone": lambda d: (d / "points.csv.gz").unlink(),
    "checksums cut": lambda d: (d / "SHA256SUMS").write_bytes((d / "SHA256SUMS").read_bytes()[:-20]),
    "checksums empty": lambda d: (d / "SHA256SUMS").write_bytes(b""),
    "checksums no text": lambda d: (d / "SHA256SUMS").write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("harm", HARM)
def test_data_that_are_not_as_they_were_collected_are_refused_and_not_collected_over(planned, tmp_path, harm):
    for plan in planned:
        finish(place(plan))
    collect_runs(planned, tmp_path / "data")
    HARM[harm](tmp_path / "data")
    before = contents(tmp_path / "data")
    for refused in (lambda: check_sums(tmp_path / "data"), lambda: collect_runs(planned, tmp_path / "data")):
        with pytest.raises(UserError, match=r"data/(runs\.csv|points\.csv\.gz) is not as it was collected") as caught:
            refused()
        assert "\n" not in str(caught.value)
    assert contents(tmp_path / "data") == before


def test_data_without_checksums_are_of_an_earlier_version_and_get_them(planned, tmp_path):
    finish(place(planned[0]))
    collect_runs(planned, tmp_path / "data")
    whole = contents(tmp_path / "data")
    (tmp_path / "data" / "SHA256SUMS").unlink()
    check_sums(tmp_path / "data")
    collect_runs(planned, tmp_path / "data")
    assert contents(tmp_path / "data") == whole


@pytest.mark.parametrize("name", ["curves.csv", "points.csv"])
def test_data_that_an_earlier_version_collected_are_converted_with_their_values_untouched(planned, tmp_path, name):
    for plan in planned:
        finish(place(plan), rows=ROWS[:4])
    data = tmp_path / "data"
    collect_runs(planned, data)
    now = contents(data)
    points = gzip.decompress((data / "points.csv.gz").read_bytes()).decode()
    (data / "points.csv.gz").unlink()
    old = points if name == "points.csv" else points.replace(",x,y", "").replace(",,,", ",")
    (data / name).write_text(old)
    digests = {name: hashlib.sha256((data / name).read_bytes()).hexdigest() for name in ("runs.csv", name)}
    (data / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    for plan in planned:  # measured elsewhere
        (place(plan) / "record.json").unlink()
    assert collect_runs(planned, data) == (0, 3)
    assert contents(data) == now


# What decides the bits -----------------------------------------------------------------------------------------


def test_runs_computed_in_different_ways_are_named_with_what_differs():
    one = {"device": "CPU A", "torch": "2.13.0", "threads": "1", "layout": "channels_last"}
    assert mixture([one, one]) == ""
    said = mixture([one, one | {"threads": "2"}, one | {"layout": "contiguous"}])
    assert "threads 1 and 2; layout channels_last and contiguous" in said
    assert "device" not in said


def test_what_was_not_recorded_is_no_difference():
    one = {"device": "CPU A", "torch": "2.13.0", "threads": "1"}
    assert mixture([one, {"device": "CPU A", "torch": "2.13.0"}, one | {"threads": ""}]) == ""
