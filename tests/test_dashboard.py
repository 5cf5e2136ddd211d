"""W&B workspaces and reports as code, with the real wandb-workspaces: saved on the stand-in server, or as JSON."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote
from urllib.request import urlopen

import pytest

from resnet_repro import dashboard
from resnet_repro.errors import UserError
from resnet_repro.project import COMMITTED

HERE = Path(__file__).resolve().parent
pytest.importorskip("wandb_workspaces", reason="wandb-workspaces is not installed: make setup installs all extras")


@contextmanager
def server():
    process = subprocess.Popen([sys.executable, HERE / "wandb_server.py"], stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def make(experiment, tmp_path, **environment):
    """What the command prints, with nothing of W&B in its environment but what is given."""
    home = dict.fromkeys(("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"), str(tmp_path / "home"))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-m", "resnet_repro.dashboard", experiment, "--results", tmp_path,
         f"env.runs_dir={tmp_path}/runs"],
        env=clean | home | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def panels(spec):
    """Section -> what its panels show: metrics over the steps, or (across, up)."""
    sections = spec["section"]["panelBankConfig"]["sections"]
    configs = {section["name"]: [panel["config"] for panel in section["panels"]] for section in sections}
    return {
        name: [c["metrics"][0] if "metrics" in c else (c["xAxis"], c["yAxis"]) for c in shown]
        for name, shown in configs.items()
    }


def groups(spec):
    """The groups that have a colour, as the values of their settings, and the colour."""
    coloured = spec["section"]["customRunColors"].items()
    paths = {key: json.loads(unquote(key).split(":", 2)[2]) for key, _ in coloured if key.startswith("run-color-group")}
    return {
        tuple(part["value"] for part in path): spec["section"]["customRunColors"][key] for key, path in paths.items()
    }


def state(address):
    with urlopen(f"{address}/state", timeout=10) as answer:
        return json.load(answer)


def test_a_workspace_for_each_model_and_a_report_are_saved_in_place_and_their_addresses_printed(tmp_path):
    with server() as address:
        key = {"WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40}
        printed = make("degradation-digits", tmp_path, **key)
        first = state(address)["views"]
        assert make("degradation-digits", tmp_path, **key) == printed
        saved = state(address)
    assert len(first) == 3
    *views, report = saved["views"]
    assert [view["id"] for view in saved["views"]] == ["view-0", "view-1", "view-2"]
    assert [view["name"] for view in views] == [view["name"] for view in first[:2]]
    check_report(report, saved)
    *printed, last = printed.splitlines()
    there = f"{address}/somebody/resnet_repro/reports/degradation-digits:-report--view-2"
    assert last == f"degradation-digits: report: {there}"
    printed = "\n".join(printed)
    assert [(view["entityName"], view["projectName"], view["displayName"]) for view in views] == [
        ("somebody", "resnet_repro", f"degradation-digits: {model}") for model in ("plain", "resnet")
    ]
    names = [view["name"].removeprefix("nw-").removesuffix("-v") for view in views]
    assert printed.split() == [
        word
        for view, name in zip(views, names, strict=True)
        for word in (*f"{view['displayName']}:".split(), f"{address}/somebody/resnet_repro?nw={name}")
    ]
    drawn = (COMMITTED / "degradation-digits" / "curves.svg").read_text(encoding="utf-8")
    for view, model in zip(views, ("plain", "resnet"), strict=True):
        spec = json.loads(view["spec"])
        (runs,) = spec["section"]["runSets"]
        chosen = {f["key"]["name"]: f["value"] for f in runs["filters"]["filters"]}
        assert chosen == {"experiment": "degradation-digits", "model": model}
        assert [key["name"] for key in runs["grouping"]] == ["depth.value"]
        assert list(groups(spec)) == [("20",), ("32",), ("56",)]
        assert all(colour in drawn for colour in groups(spec).values())
        assert len(set(groups(spec).values())) == 3
        assert panels(spec)["Over the steps"] == ["train_error_running", "train_loss", "test_error"]
        assert runs["runFeed"]["columnPinned"]["summary:final/status"]
    assert "0" * 40 not in json.dumps(views)


def blocks(spec):
    """The parts of a report: `(type, text)`, of a grid its sets of runs and its panels."""
    grids = {"panel-grid": lambda b: (b["metadata"]["runSets"], b["metadata"]["panelBankSectionConfig"]["panels"])}
    text = {"markdown-block": lambda b: b["content"]}
    plain = lambda b: "".join(child["text"] for child in b["children"])  # noqa: E731
    return [(b["type"], (grids | text).get(b["type"], plain)(b)) for b in spec["blocks"]]


def check_report(report, saved):
    """It holds the verdicts and captions as committed, pictures that were sent, and the runs of each."""
    folder, found = COMMITTED / "degradation-digits", blocks(json.loads(report["spec"]))
    verdicts, curves, by_depth = (text for kind, text in found[2:] if kind == "markdown-block" and text[:6] != "Source")
    with open(folder / "verdicts.csv", newline="", encoding="utf-8") as file:
        decided = [(row["says"], row["n"], row["verdict"]) for row in csv.DictReader(file)]
    cells = [[cell.strip() for cell in line.split("|")] for line in verdicts.splitlines() if line.startswith("|")]
    assert [(row[1], row[3], row[4]) for row in cells[2:]] == decided
    for name, caption in {"curves": curves, "depth": by_depth}.items():
        assert caption in (folder / "README.md").read_text(encoding="utf-8")
        digest = hashlib.sha256((folder / f"{name}.png").read_bytes()).hexdigest()
        logged = json.loads(saved["points"]["degradation-digits-figures"][-1])[name]
        assert (logged["sha256"], logged["path"] in saved["files"]) == (digest, True)
    grids = [content for kind, content in found if kind == "panel-grid"]
    shown = [[p["config"].get("mediaKeys") or p["config"].get("metrics") or p["config"]["yAxis"] for p in panels]
             for _, panels in grids]  # fmt: skip
    curves, last = [["train_error_running"], ["test_error"]], ["train_error_clean", "test_error"]
    assert shown == [[["curves"]], curves, curves, [["depth"]], [f"summary:final/{metric}" for metric in last]]
    chosen = [[(f["key"]["name"], f["value"]) for f in runs["filters"]["filters"]] for (runs,), _ in grids]
    live = ("experiment", "degradation-digits")
    assert chosen[1:3] == [[live, ("model", "plain")], [live, ("model", "resnet")]]
    assert (chosen[3], chosen[4]) == ([("figures_of", "degradation-digits")], [live])
    assert all(runs["project"]["id"] == "internal" for (runs,), _ in grids)


def test_the_team_is_the_one_that_the_environment_names_and_views_removed_since_are_made_anew(tmp_path):
    with server() as address:
        for _ in range(2):
            make("tiny", tmp_path, WANDB_BASE_URL=address, WANDB_API_KEY="0" * 40, WANDB_ENTITY="a-team")
            views = state(address)["views"]
            assert views[-1]["displayName"] == "tiny: report"
            assert {(view["entityName"], view.get("id")) for view in views} == {("a-team", None)}
            with urlopen(f"{address}/forget", timeout=10):
                pass


def test_without_a_key_the_workspaces_are_written_as_json(tmp_path):
    printed = make("shortcut-scale-digits", tmp_path)
    path = tmp_path / "shortcut-scale-digits" / "workspace-resnet.json"
    report = path.with_name("report.json")
    assert printed.splitlines() == [f"not saved in W&B (no key: wandb login); written to {p}" for p in (path, report)]
    spec = json.loads(path.read_text(encoding="utf-8"))
    last = ("final/train_error_clean", "final/test_error")
    assert panels(spec)["At the end"] == [
        (f"config:{setting}.value", f"summary:{metric}") for setting in ("depth", "shortcut_scale") for metric in last
    ]
    by = [key["name"].removesuffix(".value") for key in spec["section"]["runSets"][0]["grouping"]]
    assert by[0] == "depth"
    assert {"shortcut_scale", "branch_scale"} < set(by)
    assert "seed" not in by
    assert len([path for path in groups(spec) if len(path) == len(by)]) == 2 * 9 + 1 + 6  # the cells of its grid


def test_a_user_who_wants_nothing_sent_is_obeyed(tmp_path):
    with server() as address:
        given = {"WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "offline"}
        assert "not saved in W&B (WANDB_MODE=offline); written to" in make("tiny", tmp_path, **given)
        assert state(address)["views"] == []


def test_where_no_server_answers_the_workspaces_are_written_too(tmp_path):
    printed = make("gradients-digits", tmp_path, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY="0" * 40)
    assert "not saved in W&B (" in printed
    spec = json.loads((tmp_path / "gradients-digits" / "workspace-plain.json").read_text(encoding="utf-8"))
    assert {"gradient_norm_output", "gradient_norm_weight"} <= set(panels(spec)["Measured"])


def test_where_the_extra_is_missing_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(UserError, match=r"pip install 'resnet-repro\[dashboard\]'"):
        dashboard.make("tiny", [], tmp_path)
