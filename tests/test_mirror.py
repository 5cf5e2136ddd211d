"""The mirror, with the real W&B client: what it writes offline, and what happens where the server does not."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from hashlib import md5
from pathlib import Path
from urllib.request import urlopen

import pytest

from resnet_repro import mirror, records, settings
from resnet_repro.config import columns
from resnet_repro.metrics import SHARES
from resnet_repro.planning import expand

HERE = Path(__file__).resolve().parent
STEPS = range(20, 201, 20)
METRICS = {"train_error_clean": 1.5, "test_error": 12.25, "train_loss": None}

# A sweep of two runs whose training is what the test does in between.
SWEEP = f"""
import sys, time
sys.path.insert(0, {str(HERE)!r})
from resnet_repro.mirror.runs import POLL_SECONDS
from test_mirror import finish, get, make_plans, mirror, reach, restart, settle
planned = make_plans(*sys.argv[2:])
with mirror.following(planned, patience=float(sys.argv[1])):
    {{body}}
print("after")
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """No setting and no key of W&B from outside, and nothing left of it."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


def make_plans(runs_dir, mode, *more, seeds=2):
    own = [f"env.runs_dir={runs_dir}", f"env.wandb={mode}", "env.group=an-experiment", "env.wandb_project=try"]
    return expand([[["task=digits", "model.depth=8", f"seed={seed}", *own, *more] for seed in range(seeds)]])


@pytest.fixture
def plans(tmp_path):
    return make_plans(tmp_path / "runs", "offline")


def place(plan):
    return records.folder(plan.run, plan.id)


PROVENANCE = {"seconds": 7.5, "engine": "eager", "commit": "0123abc", "data_sha256": "ab"}


def rows(first, last, seed):
    return [
        (step, metric, None, None, value / step + seed)
        for step in STEPS
        if first <= step <= last
        for metric, value in {"train_error_running": 70.0, "train_loss": 1 / 3}.items()
    ]


def reach(plan, last, first=0):
    """Training gets from after step `first` to step `last`."""
    if not (place(plan) / "points.csv").exists():
        records.write_json(place(plan) / "run.json", {})
        records.write_points(place(plan), [])
    records.append_points(place(plan), rows(first + 1, last, plan.run.seed))


def finish(plan, first=0):
    reach(plan, 200, first)
    flags = dict.fromkeys(SHARES, False)
    measured = {"status": "finished", "status_flags": flags, "metrics": METRICS, "parameters": 78042}
    records.write(place(plan), {**measured, "diverged_step": None, "provenance": PROVENANCE})


def settle(plan, step):
    """Waits until the mirror has repeated a run up to this step."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if mirrored(plan).get("step", -1) >= step:
            return
        time.sleep(0.05)
    raise TimeoutError(f"{plan.id}: step {step} was not mirrored in time")


def mirrored(plan):
    path = place(plan) / "wandb.json"
    return json.loads(path.read_text()) if path.exists() else {}


def segments(plan, kind="offline-run"):
    """W&B's folders of a run, in the order of their making."""
    return sorted(Path(plan.run.env.runs_dir).glob(f"wandb/{kind}-*-{plan.id}"), key=lambda path: path.stat().st_mtime)


def inspect(folder):
    """The records of a W&B run's file, as W&B's own reader prints them."""
    from wandb.util import get_core_path  # not at the top, for the sweeps that import this file

    (path,) = folder.glob("*.wandb")
    # What `wandb leet inspect --json` calls, which takes a second to start.
    reader = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file", path, folder.parent]
    printed = subprocess.run(reader, capture_output=True, text=True, check=True, timeout=60).stdout
    return [json.loads(line) for line in printed.splitlines()]


def summary(folder):
    """The same in short, as `wandb leet inspect` prints it."""
    reader = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", folder]
    quiet = os.environ | {"WANDB_ERROR_REPORTING": "false", "OTEL_SDK_DISABLED": "true"}
    return json.loads(subprocess.run(reader, capture_output=True, check=True, timeout=60, env=quiet).stdout)


def points(plan, kind="offline-run"):
    """(step, metric, None, None, value) of all that was logged of a run, over all its segments."""
    items = [r["history"]["item"] for folder in segments(plan, kind) for r in inspect(folder) if r["type"] == "history"]
    return [
        (item["step"], metric, None, None, value)
        for item in items
        for metric, value in item.items()
        if metric != "step" and not metric.startswith("_")
    ]


def ended(plan, kind="offline-run"):
    (record,) = [r for r in inspect(segments(plan, kind)[-1]) if r["type"] == "exit"]
    return record["exit"].get("exit_code", 0)


@contextmanager
def server():
    """The stand-in for W&B's server; yields its process and its address."""
    process = subprocess.Popen([sys.executable, HERE / "wandb_server.py"], stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def get(address):
    with urlopen(address, timeout=10) as answer:
        return json.load(answer)


def restart(address):
    """The server goes, and comes again some seconds later with what it had."""
    with suppress(OSError):  # it goes without an answer
        get(address + "/restart")


def sweep(runs_dir, mode, body, patience=3.0, more=(), **environment):
    """Runs a sweep in a process of its own to its end; returns what it printed."""
    command = [sys.executable, "-c", SWEEP.format(body=body), str(patience), str(runs_dir), mode, *more]
    done = subprocess.run(
        command,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.endswith("after\n")
    return done.stdout


KEY = "0" * 40

# Offline -------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_mirrored_with_all_its_curves_config_and_summary(plans):
    with mirror.following(plans[:1]):
        finish(plans[0])
    (folder,) = segments(plans[0])
    found = inspect(folder)
    run = next(r["run"] for r in found if r["type"] == "run")
    assert (run["run_id"], run["display_name"], run["project"]) == (plans[0].id, plans[0].id, "try")
    assert (run["run_group"], run["job_type"]) == ("an-experiment", "train")
    told = {k: v for k, v in run["config"]["update"].items() if k != "_wandb"}
    assert told == {**columns(plans[0].run), "experiment": "an-experiment"}
    tags = [r["run"]["tags"] for r in found if r["type"] == "run"]
    assert (tags[0], tags[-1]) == (["resnet", "depth 8", "digits"], ["resnet", "depth 8", "digits", "finished"])
    assert summary(folder)["summary"]["final/test_error"] == 12.25
    assert points(plans[0]) == rows(0, 200, seed=0)
    assert {r["metric"].get("glob_name"): r["metric"].get("step_metric") for r in found if r["type"] == "metric"} == {
        None: None,
        "*": "step",
    }
    last = {}
    for record in found:
        last |= record.get("summary", {}).get("update", {})
    assert {k: v for k, v in last.items() if k.startswith("final/")} == {
        "final/train_error_clean": 1.5,
        "final/test_error": 12.25,
        "final/train_loss": None,
        "final/status": "finished",
        "final/parameters": 78042,
        "final/diverged_step": None,
        "final/seconds": 7.5,
        "final/engine": "eager",
        "final/commit": "0123abc",
    }
    assert ended(plans[0]) == 0


def test_where_the_settings_are_silent_wandbs_own_variables_hold(tmp_path, monkeypatch):
    own = {"MODE": "offline", "PROJECT": "own", "ENTITY": "team", "NOTES": "why", "TAGS": "first, second", "DIR": "/no"}
    for name, value in own.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    (plan,) = expand([[["task=digits", "model.depth=8", f"env.runs_dir={tmp_path}"]]])
    with mirror.following([plan]):
        finish(plan)
    run = next(r["run"] for r in inspect(segments(plan)[0]) if r["type"] == "run")
    assert (run["project"], run["entity"], run["notes"]) == ("own", "team", "why")
    assert run["tags"] == ["resnet", "depth 8", "digits", "first", "second"]
    spoken = settings.compose(["env.wandb=online", "env.wandb_project=try"]).env
    assert (mirror.mode(spoken), mirror.project(spoken)) == ("online", "try")
    for said, meant in (("disabled", "disabled"), ("online", "online"), ("dryrun", "offline"), ("nonsense", "offline")):
        monkeypatch.setenv("WANDB_MODE", said)
        assert mirror.mode(plan.run.env) == meant
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_PROJECT")
    assert (mirror.mode(plan.run.env), mirror.project(plan.run.env)) == ("offline", "resnet_repro")


def test_neither_host_nor_user_nor_key_is_in_what_the_mirror_writes(plans, monkeypatch):
    monkeypatch.setenv("USER", "s3cret-user")
    monkeypatch.setenv("WANDB_API_KEY", "s3cretkey" * 4)
    with mirror.following(plans[:1]):
        finish(plans[0])
    runs = [r["run"] for r in inspect(segments(plans[0])[0]) if r["type"] == "run"]
    assert runs
    assert not any(run.get("host") for run in runs)
    written = [path for path in segments(plans[0])[0].rglob("*") if path.is_file() and path.parent.name != "logs"]
    assert all(b"s3cret" not in path.read_bytes() for path in written)
    assert "wandb-metadata.json" not in {path.name for path in written}


def test_folders_that_grow_are_followed_several_at_once(plans):
    with mirror.following(plans):
        for plan in plans:
            reach(plan, 60)
        for plan in plans:
            settle(plan, 60)
        finish(plans[1], first=60)
        reach(plans[0], 120, first=60)
        settle(plans[0], 120)
        settle(plans[1], 200)
        finish(plans[0], first=120)
    assert [len(segments(plan)) for plan in plans] == [1, 1]
    assert [points(plan) for plan in plans] == [rows(0, 200, seed) for seed in (0, 1)]
    assert [(mirrored(plan)["step"], mirrored(plan)["done"]) for plan in plans] == [(200, True)] * 2


def test_runs_that_were_finished_earlier_are_mirrored_too_and_once(plans):
    for plan in plans:
        finish(plan)
    for _ in range(2):
        with mirror.following(plans):
            pass
    assert [len(segments(plan)) for plan in plans] == [1, 1]
    assert [points(plan) for plan in plans] == [rows(0, 200, seed) for seed in (0, 1)]


def test_an_interrupted_run_goes_on_as_the_same_run_with_no_point_twice(plans):
    with mirror.following(plans[:1]):
        reach(plans[0], 100)
    assert ended(plans[0]) == 1
    # A resumed run starts again from its checkpoint, to the same numbers.
    records.write_points(place(plans[0]), rows(0, 60, seed=0))
    with mirror.following(plans[:1]):
        finish(plans[0], first=60)
    found = [inspect(folder) for folder in segments(plans[0])]
    runs = [next(r["run"] for r in segment if r["type"] == "run") for segment in found]
    assert [run["run_id"] for run in runs] == [plans[0].id] * 2
    assert [run.get("resume", False) for run in runs] == [False, True]
    assert points(plans[0]) == rows(0, 200, seed=0)
    assert ended(plans[0]) == 0


def test_of_two_sweeps_with_one_run_in_their_plans_one_mirrors_it(plans):
    with mirror.following(plans), mirror.following(plans):
        for plan in plans:
            reach(plan, 100)
            settle(plan, 100)
        for plan in plans:
            finish(plan, first=100)
    assert [Counter(points(plan)) for plan in plans] == [Counter(rows(0, 200, seed)) for seed in (0, 1)]


def test_non_finite_values_are_mirrored(plans):
    records.write_json(place(plans[0]) / "run.json", {})
    records.write_points(
        place(plans[0]), [(20, "train_loss", None, None, float("inf")), (40, "train_loss", None, None, float("nan"))]
    )
    with mirror.following(plans[:1]):
        pass
    assert [(step, str(value).lower()) for step, _, _, _, value in points(plans[0])] == [(20, "infinity"), (40, "nan")]


AXES = {
    "gradient_norm_output": ([1, 2, 3], [1, 2, 3, 4]),
    "covariate_shift": ([2, 3, 4], [2, 3, 4, 5]),  # no layer stands before the first
    "error_without_block": ([0, 1, 2], [0, 1, 2, 3]),
    "gradient_change": ([0.05, 0.1, 0.2], [0.05, 0.1, 0.2, 0.3]),
    "error_shuffled": ([4, 0, 1], [0, 1, 4, 7]),
}
"""The places at which a metric is measured, and the bins that begin there."""


@pytest.mark.parametrize("metric", AXES)
def test_what_is_measured_along_an_axis_is_mirrored_as_a_histogram_whose_bins_begin_at_its_places(plans, metric):
    records.write_json(place(plans[0]) / "run.json", {})
    places, bins = AXES[metric]
    heights = dict(zip(places, [0.5, float("nan"), -2.0], strict=True))
    profile = [(0, metric, x, None, value) for x, value in heights.items()]
    records.write_points(place(plans[0]), [*profile, (20, "train_loss", None, None, 1.5)])
    with mirror.following(plans[:1]):
        pass
    values = [heights[x] if heights[x] == heights[x] else 0 for x in sorted(places)]
    *histogram, loss = points(plans[0])
    found = {key.removeprefix(f"{metric}."): value for _, key, _, _, value in histogram}  # W&B's reader takes it apart
    assert found == {"_type": "histogram", "bins": pytest.approx(bins), "values": values}
    assert loss == (20, "train_loss", None, None, 1.5)


def test_what_has_two_axes_is_not_mirrored(plans):
    records.write_json(place(plans[0]) / "run.json", {})
    plane = [(400, "loss_on_plane", x, y, 1.0) for y in (-1.0, 1.0) for x in (-1.0, 1.0)]
    records.write_points(place(plans[0]), [(20, "train_loss", None, None, 1.5), *plane])
    with mirror.following(plans[:1]):
        pass
    assert points(plans[0]) == [(20, "train_loss", None, None, 1.5)]


def test_disabled_does_nothing(tmp_path):
    plans = make_plans(tmp_path / "runs", "disabled")
    with mirror.following(plans):
        finish(plans[0])
    assert not (tmp_path / "runs" / "wandb").exists()
    assert not (place(plans[0]) / "wandb.json").exists()


# When processes die --------------------------------------------------------------------------------------------


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_the_mirror_ends_soon_when_its_sweep_is_killed_and_loses_nothing(tmp_path, plans):
    body = "reach(planned[0], 100); settle(planned[0], 100); reach(planned[0], 140, 100); time.sleep(60)"
    command = [sys.executable, "-c", SWEEP.format(body=body), "3", str(tmp_path / "runs"), "offline"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    settle(plans[0], 100)
    time.sleep(0.2)
    (follower,) = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert gone(follower, seconds=10)
    assert points(plans[0]) == rows(0, 140, seed=0)
    with mirror.following(plans[:1]):
        finish(plans[0], first=140)
    assert points(plans[0]) == rows(0, 200, seed=0)


def test_ctrl_c_is_for_the_sweep_alone(tmp_path, plans):
    body = "reach(planned[0], 100); settle(planned[0], 100); import os, signal; "
    # A process that a shell started with & ignores SIGINT otherwise.
    body += "signal.signal(signal.SIGINT, signal.default_int_handler); os.killpg(0, signal.SIGINT)"
    command = [sys.executable, "-c", SWEEP.format(body=body), "3", str(tmp_path / "runs"), "offline"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, start_new_session=True, check=False)
    assert "KeyboardInterrupt" in done.stderr
    assert done.stdout == ""
    assert points(plans[0]) == rows(0, 100, seed=0)
    assert ended(plans[0]) == 1


def test_a_mirror_that_is_killed_stops_no_sweep_and_the_next_one_goes_on(tmp_path, plans):
    body = "reach(planned[0], 100); settle(planned[0], 100); time.sleep(2 * POLL_SECONDS); import os, signal; "
    body += "from test_mirror import children; [os.kill(p, signal.SIGKILL) for p in children(os.getpid())]; "
    body += "time.sleep(0.5); finish(planned[0], 100)"
    said = sweep(tmp_path / "runs", "offline", body)
    assert said.count("W&B: mirroring stopped early") == 1
    with mirror.following(plans[:1]):
        pass
    assert points(plans[0]) == rows(0, 200, seed=0)


@pytest.mark.parametrize("noted", [-1, 60, 120])
def test_what_a_killed_mirror_noted_too_early_or_too_late_is_neither_lost_nor_doubled(plans, noted):
    with mirror.following(plans[:1]):
        reach(plans[0], 100)
    state = mirrored(plans[0])
    assert state["step"] == 100
    records.write_json(place(plans[0]) / "wandb.json", state | {"step": noted})
    with mirror.following(plans[:1]):
        finish(plans[0], first=100)
    assert points(plans[0]) == rows(0, 200, seed=0)


def test_a_mirror_that_cannot_work_is_reported_once_with_the_file_that_says_why(tmp_path):
    (tmp_path / "runs").mkdir()
    plans = make_plans(tmp_path / "runs", "offline")
    finish(plans[0])
    (place(plans[0]) / "wandb.json").mkdir()  # its state cannot be written
    said = sweep(tmp_path / "runs", "offline", "pass")
    assert said.count("W&B:") == 1
    log = re.search(r"stopped early, (\S+) says why", said).group(1)
    assert "Is a directory: move away the folder that stands where a file should be" in Path(log).read_text()


# Online --------------------------------------------------------------------------------------------------------


def test_online_curves_summary_and_settings_arrive_while_the_run_goes_on(tmp_path):
    with server() as (_, address):
        body = "reach(planned[0], 100); settle(planned[0], 100); reach(planned[1], 100); settle(planned[1], 100); "
        body += "finish(planned[0], 100); finish(planned[1], 100)"
        said = sweep(tmp_path / "runs", "online", body, WANDB_BASE_URL=address, WANDB_API_KEY=KEY)
        state = get(address + "/state")
    assert said == "after\n"
    for plan in make_plans(tmp_path / "runs", "online"):
        run = state["runs"][plan.id]
        assert (run["groupName"], run["tags"]) == ("an-experiment", ["resnet", "depth 8", "digits", "finished"])
        assert not run.get("host")
        items = [json.loads(line) for line in state["points"][plan.id]]
        assert [(i["step"], i["train_loss"]) for i in items] == [(s, 1 / 3 / s + plan.run.seed) for s in STEPS]
        assert state["summaries"][plan.id]["final/test_error"] == 12.25


def test_an_interrupted_run_is_resumed_on_the_server(tmp_path):
    with server() as (_, address):
        for body in ("reach(planned[0], 100)", "finish(planned[0], 100)"):
            sweep(tmp_path / "runs", "online", body, WANDB_BASE_URL=address, WANDB_API_KEY=KEY)
        (plan, _) = make_plans(tmp_path / "runs", "online")
        items = [json.loads(line) for line in get(address + "/state")["points"][plan.id]]
    assert [item["step"] for item in items] == list(STEPS)
    assert [item["_step"] for item in items] == list(range(len(STEPS)))


def said_once(said, runs_dir):
    """The one thing that was said: that it goes on offline, and which command uploads the rest."""
    assert said.count("W&B:") == 1
    assert "Training goes on" in said
    command = re.search(r"`(wandb sync .*)`", said).group(1)
    assert str(runs_dir) in command
    return command


def upload(command, address, plans):
    """Runs the command that the mirror named, and checks that the server then has every point once."""
    environment = os.environ | {"WANDB_BASE_URL": address, "WANDB_API_KEY": KEY}
    environment |= {"WANDB_ERROR_REPORTING": "false", "OTEL_SDK_DISABLED": "true"}
    here = command.replace("wandb", f"{sys.executable} -m wandb", 1)
    subprocess.run(here, shell=True, env=environment, check=True, timeout=60, capture_output=True)
    state = get(address + "/state")
    for plan in plans:
        assert [json.loads(line)["step"] for line in state["points"][plan.id]] == list(STEPS)
        assert state["summaries"][plan.id]["final/test_error"] == 12.25


def test_without_a_key_it_says_so_once_and_goes_on_offline(tmp_path):
    said = sweep(tmp_path / "runs", "online", "finish(planned[0]); finish(planned[1])")
    said_once(said, tmp_path / "runs")
    assert "API key" in said
    for plan in make_plans(tmp_path / "runs", "online"):
        assert points(plan) == rows(0, 200, plan.run.seed)


def test_without_a_server_it_says_so_once_and_goes_on_offline_and_the_command_uploads_it_later(tmp_path):
    started = time.monotonic()
    nowhere = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": KEY}
    said = sweep(tmp_path / "runs", "online", "finish(planned[0]); finish(planned[1])", **nowhere)
    assert time.monotonic() - started < 60
    command = said_once(said, tmp_path / "runs")
    plans = make_plans(tmp_path / "runs", "online")
    for plan in plans:
        assert points(plan) == rows(0, 200, plan.run.seed)
    with server() as (_, address):
        upload(command, address, plans)


LOSE = """
    for plan in planned: reach(plan, 100); settle(plan, 100)
    {lose}
    finish(planned[0], 100); reach(planned[1], 140, 100); settle(planned[0], 200); finish(planned[1], 140)
"""
"""A server is lost when it knows of both runs: one ends then, the other goes on."""


def test_a_server_that_never_answers_costs_a_bounded_time_and_no_data(tmp_path):
    plans = make_plans(tmp_path / "runs", "online")
    with server() as (process, address):
        process.send_signal(signal.SIGSTOP)  # connections are still accepted, by the system
        started = time.monotonic()
        body = "finish(planned[0]); finish(planned[1])"
        said = sweep(tmp_path / "runs", "online", body, WANDB_BASE_URL=address, WANDB_API_KEY=KEY)
        assert time.monotonic() - started < 60
        command = said_once(said, tmp_path / "runs")
        for plan in plans:
            assert points(plan) == rows(0, 200, plan.run.seed)
        process.send_signal(signal.SIGCONT)
        upload(command, address, plans)


@pytest.mark.parametrize(
    ("trouble", "artifact"), [("fails", False), ("vanishes", False), ("hangs", False), ("hangs", True)]
)
def test_a_server_that_is_lost_on_the_way_costs_a_bounded_time_and_no_data(tmp_path, trouble, artifact):
    more = [f"env.wandb_artifact={str(artifact).lower()}"]
    with server() as (process, address):
        lose = {
            "fails": f"get('{address}/fail')",
            "vanishes": f"import os; os.kill({process.pid}, 9)",
            "hangs": f"import os, signal; os.kill({process.pid}, signal.SIGSTOP)",
        }[trouble]
        started = time.monotonic()
        body = LOSE.format(lose=lose).strip()
        said = sweep(
            tmp_path / "runs", "online", body, patience=2, more=more, WANDB_BASE_URL=address, WANDB_API_KEY=KEY
        )
        assert time.monotonic() - started < 60
    command = said_once(said, tmp_path / "runs")
    with server() as (_, another):
        upload(command, another, make_plans(tmp_path / "runs", "online"))
        assert len(get(another + "/state")["artifacts"]) == 2 * artifact


def test_a_server_that_is_gone_for_a_while_gets_everything_once_when_it_is_back(tmp_path):
    with server() as (_, address):
        body = LOSE.format(lose=f"restart('{address}')").strip()
        said = sweep(tmp_path / "runs", "online", body, patience=30, WANDB_BASE_URL=address, WANDB_API_KEY=KEY)
        state = get(address + "/state")
    assert (said, state["restarts"]) == ("after\n", 1)
    for plan in make_plans(tmp_path / "runs", "online"):
        assert [json.loads(line)["step"] for line in state["points"][plan.id]] == list(STEPS)
        assert state["summaries"][plan.id]["final/test_error"] == 12.25


def test_a_setting_that_wandb_refuses_stops_the_mirror_and_not_the_sweep(tmp_path):
    said = sweep(tmp_path / "runs", "offline", "finish(planned[0])", WANDB__DISABLE_STATS="neither")
    assert said.count("W&B:") == 1


# env.wandb_system, env.wandb_artifact --------------------------------------------------------------------------


@pytest.mark.parametrize("system", [True, False])
def test_system_metrics_are_mirrored_where_they_are_asked_for(tmp_path, system, monkeypatch):
    monkeypatch.setenv("WANDB__STATS_SAMPLING_INTERVAL", "0.2")
    (plan,) = make_plans(tmp_path / "runs", "offline", f"env.wandb_system={str(system).lower()}", seeds=1)
    with mirror.following([plan]):
        reach(plan, 100)
        settle(plan, 100)
        time.sleep(2)
        finish(plan, first=100)
    found = inspect(segments(plan)[0])
    stats = [record["stats"]["item"] for record in found if record["type"] == "stats"]
    assert bool(stats) == system
    assert all("memory_percent" in item for item in stats)
    said = [record[kind] for record in found for kind in ("run", "environment") if record["type"] == kind]
    assert not any(name in one for one in said for name in ("host", "username", "email"))
    assert points(plan) == rows(0, 200, seed=0)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_an_artifact_holds_record_points_and_network_of_a_finished_run(tmp_path, mode, monkeypatch):
    with_net, without, unfinished = make_plans(tmp_path / "runs", mode, "env.wandb_artifact=true", seeds=3)
    with server() as (_, address):
        told = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": address}
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        with mirror.following([with_net, without, unfinished]):
            records.keep_network(place(with_net), b"parameters", {"depth": 8})
            for plan in (with_net, without):
                finish(plan)
            reach(unfinished, 100)
        if mode == "offline":
            assert get(address + "/state")["artifacts"] == {}
            assert sync(tmp_path / "runs", **told) == (0, ["W&B: 3 of 3 runs uploaded"])
        found = get(address + "/state")["artifacts"]
    own = ["record.json", "points.csv"]
    assert found == {
        plan.id: {name: md5((place(plan) / name).read_bytes()).hexdigest() for name in files}
        for plan, files in ((with_net, [*own, "net.safetensors", "config.json"]), (without, own))
    }


# make wandb-sync -----------------------------------------------------------------------------------------------


def sync(runs_dir, patience=60, **environment):
    """Exit code and lines of `make wandb-sync OVERRIDES="env.runs_dir=... seed=0,1"`."""
    command = [
        sys.executable,
        "-m",
        "resnet_repro.mirror.sync",
        "--patience",
        str(patience),
        f"env.runs_dir={runs_dir}",
        "seed=0,1",
    ]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("W&B:")]


def test_sync_says_what_a_failing_server_did_not_take_and_completes_it_later(tmp_path):
    runs = tmp_path / "runs"
    plans = make_plans(runs, "offline")
    assert sync(runs) == (0, [f"W&B: no runs in {runs}/wandb yet: train something first, or name env.runs_dir"])
    with mirror.following(plans):
        finish(plans[0])
        reach(plans[1], 100)
    with mirror.following(plans):
        finish(plans[1], first=100)  # its second file
    assert len(segments(plans[1])) == 2
    with server() as (_, address):
        get(address + "/fail")
        code, said = sync(runs, patience=4, WANDB_BASE_URL=address, WANDB_API_KEY=KEY)
        assert (code, said[0]) == (1, "W&B: 0 of 2 runs uploaded")
        assert all(plan.id in said[1] for plan in plans)
    code, said = sync(runs)
    assert (code, said[0]) == (1, "W&B: 0 of 2 runs uploaded")  # no key
    assert "wandb login" in said[1]
    with server() as (_, address):
        assert sync(runs, WANDB_BASE_URL=address, WANDB_API_KEY=KEY) == (0, ["W&B: 2 of 2 runs uploaded"])
        state = get(address + "/state")
    for plan in plans:
        assert [json.loads(line)["step"] for line in state["points"][plan.id]] == list(STEPS)
        assert state["summaries"][plan.id]["final/test_error"] == 12.25
    assert sync(runs) == (0, [f"W&B: all runs in {runs}/wandb are uploaded"])
