"""The lesson is a notebook that runs from the committed records as they are, in a process of its own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COUNTED = """
import runpy, sys
import resnet_repro as rr
drawn, draw = [], rr.figure
rr.figure = lambda *words, **options: drawn.append(draw(*words, **options))
runpy.run_path(sys.argv[1])
print(len(drawn), "figures", "torch" in sys.modules)
"""


def test_the_lesson_runs_and_shows_a_verdict_of_every_kind_of_question(tmp_path):
    command = [sys.executable, "-c", COUNTED, str(ROOT / "docs" / "lesson.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    *said, counted = done.stdout.splitlines()
    assert counted == "4 figures False"
    assert len(said) == 15
    assert {line.partition(":")[0] for line in said} >= {"supported", "refuted"}
    assert list(tmp_path.iterdir()) == []
