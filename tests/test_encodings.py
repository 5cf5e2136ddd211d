"""Text is read and written as UTF-8, whatever the locale: by a rule over the code, and by a sweep in the locale C."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [path for part in ("resnet_repro", "hydra_plugins", "benchmarks") for path in (ROOT / part).rglob("*.py")]


def leaves_the_encoding_to_the_locale(call):
    """Whether a call opens text without naming an encoding; ruff's rule sees only what it knows to be a Path."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in given or None in given:  # named, or handed on as **options
        return False
    if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in (
        "os",
        "Image",
        "zipfile",
        "tarfile",
        "package",
    ):
        return name == "fdopen"
    modes = [a.value for a in [*call.args, *given.values()] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if name in ("open", "fdopen"):
        return not any("b" in mode and len(mode) <= 3 for mode in modes)
    return name in ("read_text", "write_text") or bool({"text", "universal_newlines"} & set(given))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_read_or_written_names_its_encoding(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert [ast.unparse(call) for call in calls if leaves_the_encoding_to_the_locale(call)] == []


EXPERIMENT = """
question: Ändert λ etwas?
smoke: true
source: Zürich
grid: [{task: digits, data.title: Zürich, model: [plain, resnet], model.depth: 8, model.width: 4,
        optim.steps: 4, optim.milestones: [[2]], probes.curve_every: 2, probes.eval_every: 4}]
claims:
  - {id: größer, says: Größer., metric: test_error, of: {model: plain}, minus: {model: resnet}, region: [0, .inf]}
figures:
  - {name: kurven, draw: learning_curves, y: [test_error], hue: model}
"""


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_a_title_on_the_command_line_is_the_same_text_in_every_locale():
    script = (
        "import sys; from resnet_repro.errors import command; command(lambda: print(ascii(sys.argv[1]), '\\u03bb'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "Zürich"], env=os.environ | ASCII, capture_output=True, check=False
    )
    assert done.stdout.decode() == "'Z\\xfcrich' λ\n"


def test_a_sweep_in_the_locale_c_keeps_what_is_not_ascii(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "locale.yaml").write_text(EXPERIMENT, encoding="utf-8")
    script = (
        "import sys; from pathlib import Path; from resnet_repro import project, sweep;"
        f"project.EXPERIMENTS = (Path({str(tmp_path)!r}) / 'experiments',);"
        "from resnet_repro.errors import command; command(sweep.main)"
    )
    words = ["locale", "--results", str(tmp_path / "results"), f"env.runs_dir={tmp_path}/runs", "env.wandb=disabled"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], env=os.environ | ASCII, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    data = (tmp_path / "results" / "locale" / "data" / "runs.csv").read_bytes()
    assert data.count("Zürich".encode()) == 2
    assert "Größer." in (tmp_path / "results" / "locale" / "README.md").read_text(encoding="utf-8")
