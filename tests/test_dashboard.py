"""W&B workspaces as code, with the real wandb-workspaces: saved on the stand-in for the server, or written as JSON."""

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
        [sys.executable, "-m", "resnet_repro.dashboard", experiment, "--results", tmp_path],
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


def test_a_workspace_for_each_model_is_saved_and_its_address_printed(tmp_path):
    with server() as address:
        printed = make("degradation-digits", tmp_path, WANDB_BASE_URL=address, WANDB_API_KEY="0" * 40)
        with urlopen(f"{address}/state", timeout=10) as answer:
            views = json.load(answer)["views"]
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


def test_the_team_is_the_one_that_the_environment_names(tmp_path):
    with server() as address:
        make("tiny", tmp_path, WANDB_BASE_URL=address, WANDB_API_KEY="0" * 40, WANDB_ENTITY="a-team")
        with urlopen(f"{address}/state", timeout=10) as answer:
            assert {view["entityName"] for view in json.load(answer)["views"]} == {"a-team"}


def test_without_a_key_the_workspaces_are_written_as_json(tmp_path):
    printed = make("shortcut-scale-digits", tmp_path)
    path = tmp_path / "shortcut-scale-digits" / "workspace-resnet.json"
    assert printed == f"not saved in W&B (no key: wandb login); written to {path}\n"
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
        with urlopen(f"{address}/state", timeout=10) as answer:
            assert json.load(answer)["views"] == []


def test_where_no_server_answers_the_workspaces_are_written_too(tmp_path):
    printed = make("gradients-digits", tmp_path, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY="0" * 40)
    assert "not saved in W&B (" in printed
    spec = json.loads((tmp_path / "gradients-digits" / "workspace-plain.json").read_text(encoding="utf-8"))
    assert {"gradient_norm_output", "gradient_norm_weight"} <= set(panels(spec)["Measured"])


def test_where_the_extra_is_missing_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(UserError, match=r"pip install 'resnet-repro\[dashboard\]'"):
        dashboard.make("tiny", [], tmp_path)
