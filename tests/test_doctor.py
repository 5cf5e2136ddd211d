"""What the doctor says of a machine, sound and not, in lines that a terminal of 80 columns holds."""

from dataclasses import fields

import pytest

from resnet_repro import doctor, records
from resnet_repro.config import Model
from resnet_repro.doctor import Finding
from resnet_repro.probes import numerics
from resnet_repro.settings import compose

CASE = numerics.Case({"depth": 8, "width": 2, "in_channels": 1}, batch=8)


@pytest.fixture
def run(tmp_path):
    return compose([f"env.runs_dir={tmp_path}/runs", "env.device=cpu"])


def test_every_look_is_taken_and_a_sound_machine_ends_with_code_0(run, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_cases", lambda device: [CASE])
    assert doctor.look(run) == 0
    lines = capsys.readouterr().out.splitlines()
    said = [line.split()[1] for line in lines if line.startswith(("ok", "warning", "wrong"))]
    assert said == ["versions", "device", "locks", "disk", "W&B", "bf16", "numbers"]
    assert max(map(len, lines)) <= 80


def test_every_kind_of_network_is_looked_at():
    seen = {}
    for case in doctor._cases("cpu"):
        for name, value in ({"family": case.family} | case.net).items():
            seen.setdefault(name, set()).add(value)
    choices = {leaf.name: leaf for leaf in fields(Model) if "choices" in leaf.metadata}
    of_layers = set(choices) - {"init", "fan", "scale_on"}  # which change numbers and no layer
    for name in of_layers:
        assert seen[name] | {choices[name].default} == set(choices[name].metadata["choices"]), name


def test_one_thing_wrong_ends_with_code_1_and_its_remedy(run, capsys):
    assert doctor.look(run, [lambda _: Finding("locks", "wrong", "no " * 60, "mend " * 30)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.strip().startswith("-> mend") for line in lines)


def test_a_file_system_without_locks_is_wrong(run, monkeypatch):
    monkeypatch.setattr(records.locks, "_try_lock", lambda file, kind: True)
    assert doctor.locks(run).verdict == "wrong"
    assert "keeps nobody out" in doctor.locks(run).says


def test_a_runs_dir_that_cannot_be_made_is_wrong(run, tmp_path):
    (tmp_path / "runs").write_text("a file")
    assert doctor.locks(run).verdict == "wrong"
    assert "env.runs_dir" in doctor.locks(run).remedy


def test_looking_at_locks_leaves_nothing_behind(run, tmp_path):
    assert doctor.locks(run).verdict == "ok"
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_key_is_told_of_and_never_shown(run, monkeypatch):
    run.env.wandb = "online"
    monkeypatch.setenv("NETRC", "/nowhere")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert doctor.wandb(run).verdict == "wrong"
    monkeypatch.setenv("WANDB_API_KEY", "s3cret")
    assert doctor.wandb(run) == Finding("W&B", "ok", "online, a key is there")


def test_a_package_outside_of_what_we_allow_is_wrong(run, monkeypatch):
    there = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: "1.0.0" if name == "torch" else there(name))
    found = doctor.versions(run)
    assert (found.verdict, found.says.split(" (")[0]) == ("wrong", "torch 1.0.0")


@pytest.mark.parametrize(("factor", "verdict"), [(9.5, "warning"), (0.4, "ok")])
def test_bf16_that_is_slower_than_fp32_is_a_warning_with_the_factor(run, factor, verdict, monkeypatch):
    monkeypatch.setattr(numerics, "bf16_per_fp32", lambda device: factor)
    assert doctor.bf16(run).verdict == verdict
    assert str(factor) in doctor.bf16(run).says


def test_a_wrong_layer_and_a_crash_are_named_with_the_network_and_a_remedy(run, monkeypatch):
    deviation = numerics.Deviation("blocks.1.conv1", "weight gradient", 0.3)
    outcomes = [
        numerics.Outcome(CASE, deviation),
        numerics.Outcome(CASE, None, "exit code -6: corrupted size"),
        numerics.Outcome(CASE, deviation._replace(relative=1e-6)),
    ]
    monkeypatch.setattr(numerics, "check", lambda cases: outcomes)
    whole, wrong, crashed = doctor.numbers(run)
    assert whole.says.startswith("1 of 3 networks")
    assert {f.verdict for f in (whole, wrong, crashed)} == {"wrong"}
    assert "width 2" in wrong.says
    assert "weight gradient of blocks.1.conv1 deviates by 3.0e-01" in wrong.says
    assert "exit code -6" in crashed.says
    assert "env.channels_last=false" in wrong.remedy
