import csv
import math
import re
import shutil
import statistics
import string
import subprocess
from dataclasses import fields, replace

import pytest
from scipy import stats as reference

from resnet_repro import report
from resnet_repro.analysis import frames, published, tables, typeset, words
from resnet_repro.analysis.claims import decide
from resnet_repro.analysis.tables import shown
from resnet_repro.config import Data, Model, Optim
from resnet_repro.experiment import Claim, Experiment, load
from resnet_repro.metrics import QUANTITIES
from resnet_repro.project import EXPERIMENTS

INF = math.inf


@pytest.fixture
def measured(write_data, degradation, tmp_path):
    e = load("degradation-digits")
    runs = write_data(e, tmp_path, degradation)
    return frames.load(e, tmp_path), runs


@pytest.fixture
def cifar(write_data, tmp_path):
    grid = [
        {"task": "cifar10", "model": ["plain", "resnet"], "model.depth": [56, 110], "seed": [0, 1]},
        {"task": "cifar10", "model": "resnet", "model.depth": 110, "model.shortcut_scale": 0.5, "seed": [0, 1]},
        {"task": "cifar10", "model": "resnet", "model.depth": 56, "model.norm": "group", "seed": [0, 1]},
        {"task": "digits", "model": "resnet", "model.depth": 20, "seed": [0, 1]},
    ]
    e = Experiment("made-up", "?", "none", grid, [], [])
    write_data(e, tmp_path, lambda s: {"errors": 30.0 if s["depth"] == 110 else 7.0 + s["seed"] / 10})
    return frames.load(e, tmp_path)


def test_the_error_table_has_the_t_interval_of_each_cell(measured, tmp_path):
    frame, runs = measured
    typeset.write(tables.error_table(frame), tmp_path)
    lines = (tmp_path / "errors.csv").read_text().splitlines()
    rows = {(r["model"], r["depth"]): r for r in csv.DictReader(lines)}
    assert len(rows) == 6
    for (model, depth), row in rows.items():
        values = [r["test_error"] for s, r in runs.values() if (s["model"], str(s["depth"])) == (model, depth)]
        half = reference.t.ppf(0.975, len(values) - 1) * reference.sem(values)
        assert float(row["test_error_mean"]) == pytest.approx(statistics.fmean(values), abs=1e-6)
        assert float(row["test_error_half"]) == pytest.approx(half, abs=1e-6)
        assert int(row["failed"]) == sum(v > 20 for v in values)


def test_the_error_table_shows_what_varies_and_names_what_is_fixed(measured):
    table = tables.error_table(measured[0])
    assert [head for head, _ in table.head[:2]] == ["network", "depth"]
    assert "width" not in {head for head, _ in table.head}
    assert "width: 8; shortcut: A" in table.note
    assert "on digits" in table.caption
    assert ("validation error, %", "") not in table.head  # not measured with the full split


def test_the_errors_that_claims_name_come_first_and_all_are_in_the_csv_file(measured):
    table = tables.error_table(measured[0])
    shown = [head for head in table.head if "error" in head[0]]
    assert shown == [("training error, %", "clean"), ("test error, %", ""), ("training error, %", "running")]
    for name in ("train_error_augmented", "train_error_exact_bn", "test_error_exact_bn"):
        assert f"{name}_mean" in table.numbers[0]


def test_settings_that_follow_from_the_depth_are_in_the_caption_and_not_in_columns(write_data, tmp_path):
    warm = {"model.depth": 110, "optim.warmup": "error", "optim.warmup_lr": 0.03, "seed": [0, 1]}
    e = Experiment("made-up", "?", "none", [{"model.depth": [20, 32], "seed": [0, 1]}, warm], [], [])
    write_data(e, tmp_path, lambda s: {"errors": 5.0})
    table = tables.error_table(frames.load(e, tmp_path))
    assert not [head for head, _ in table.head if "warm" in head]
    assert "With depth 110: warm-up until the training error falls, warm-up learning rate 0.03" in table.caption
    assert "warmup_lr" in table.numbers[0]


def test_an_outcome_that_no_run_had_has_no_column(measured):
    heads = [subhead for head, subhead in tables.error_table(measured[0]).head if head == "runs"]
    assert heads == ["failed"]


def test_rows_of_one_network_stand_together(measured):
    networks = [row[0] for row in tables.error_table(measured[0]).rows]
    assert networks == ["plain net"] * 3 + ["ResNet"] * 3


def test_a_setting_that_is_off_in_some_cells_has_its_column(write_data, tmp_path):
    e = Experiment("made-up", "?", "none", [{"model.ghost_batch": [None, 64], "seed": [0, 1, 2]}], [], [])
    write_data(e, tmp_path, lambda s: {"errors": 5.0})
    assert [row[0] for row in tables.error_table(frames.load(e, tmp_path)).rows] == ["off", "64"]


def test_a_missing_run_is_counted_in_the_error_table(write_data, tmp_path):
    e = Experiment("made-up", "?", "none", [{"model": ["plain", "resnet"], "seed": [0, 1, 2]}], [], [])
    write_data(e, tmp_path, lambda s: None if s["model"] == "plain" or s["seed"] == 2 else {"errors": 5.0})
    plain, resnet = tables.error_table(frames.load(e, tmp_path)).rows
    assert plain[1] == "0 of 3"
    assert "–" in plain
    assert resnet[1] == "2 of 3"
    assert "5.00 ± 0.00" in resnet


@pytest.mark.parametrize(
    ("minus", "region", "words"),
    [
        (None, [0.4, 1], "[0.4, 1]"),
        (None, [0, INF], "[0, ∞)"),
        ({"model": "plain"}, [0, INF], "(0, ∞)"),
        ({"model": "plain"}, [-INF, 0], "(−∞, 0)"),
        ({"model": "plain"}, [-1, 1], "(−1, 1)"),
    ],
)
def test_a_region_is_written_with_the_ends_it_has(measured, minus, region, words):
    claim = Claim("c", "A claim.", "test_error", {"model": "resnet", "depth": 20}, region)
    claim.minus = minus and {**minus, "depth": 20}
    assert tables.region(decide(claim, measured[0])) == words


def test_a_difference_shows_its_sign_and_a_mean_does_not(measured):
    claim = Claim("c", "A claim.", "train_error_clean", {"model": "resnet", "depth": 56}, [0, 1])
    assert tables.estimate(decide(claim, measured[0])).startswith("0.")
    claim.minus = {"model": "plain", "depth": 56}
    assert tables.estimate(decide(claim, measured[0])).startswith("−5")


def test_the_notes_say_what_a_verdict_rests_on(measured):
    claim = Claim("c", "A claim.", "train_error_clean", {"model": "plain", "depth": 56}, [0, INF])
    claim.minus = {"model": "plain", "depth": 20}
    v = decide(claim, measured[0])
    assert tables.notes(v) == "failed 8 against 0, p < 0.001; the first is higher in 100 % of pairs, p < 0.001"
    v = replace(v, changes_without="3 4", since="0123abc", failed=5, failed_minus=1, stuck=2, p=0.0079, failed_p=0.05)
    assert tables.notes(v).split("; ") == [
        "failed 5 against 1, p = 0.05",
        "stuck 2 against 0",
        "the first is higher in 100 % of pairs, p = 0.0079",
        "not supported without seed 3 or 4",
        "registered at commit 0123abc",
    ]
    why = "no run of either side learned"
    v = replace(v, verdict="not answerable", why=why)
    assert tables.notes(v).startswith(f"{why}; ")
    assert tables.remark(2, v).startswith(f"Claim 2 is not answerable: {why}.")


def test_no_minus_sign_stands_before_a_zero():
    assert tables.interval(-0.001, -0.004, 0.004, "+") == "+0.00 [+0.00, +0.00]"


def test_the_paper_stands_beside_ours_where_it_has_the_same_network(cifar):
    rows = {(r["model"], r["depth"], r["shortcut_scale"], r["metric"], r["source"][:15]): r for r in
            tables.paper_table(cifar).numbers if r["norm"] == "batch"}  # fmt: skip
    ours = rows["resnet", 56, 1.0, "test_error", "He et al. 2015,"]
    assert (ours["paper"], ours["ours"], ours["difference"]) == (6.97, 7.05, 0.08)
    assert rows["resnet", 110, 1.0, "test_error", "He et al. 2015,"]["paper_sd"] == 0.16
    half = rows["resnet", 110, 0.5, "failed", "He et al. 2016,"]
    assert (half["paper"], half["ours"], half["difference"]) == (1, 1, 0)
    assert ("plain", 110, 1.0, "failed", "He et al. 2015,") in rows
    assert ("resnet", 110, 0.5, "test_error", "He et al. 2016,") not in rows


def test_the_paper_says_nothing_of_other_norms_or_data_sets(cifar, measured):
    assert {r["norm"] for r in tables.paper_table(cifar).numbers} == {"batch"}
    assert {r["depth"] for r in tables.paper_table(cifar).numbers} == {56, 110}
    assert tables.paper_table(measured[0]) is None


def test_the_differences_of_protocol_are_named():
    as_paper = {"depth": 56, "width": 16, "shortcut": "A", "norm": "batch", "ghost_batch": 64, "init": "he"}
    as_paper |= {
        "split": "full",
        "normalize": "pixel_mean",
        "crop_padding": 4,
        "flip": True,
        "lr": 0.1,
        "momentum": 0.9,
    }
    as_paper |= {"nesterov": False, "weight_decay": 1e-4, "batch": 128, "steps": 64000, "milestones": "32000 48000"}
    as_paper |= {"gamma": 0.1, "warmup": "none", "data": "CIFAR-10"}
    as_paper |= {"warmup_lr": 0.01, "warmup_error": 80.0, "warmup_steps": 400}
    of = "He et al. 2015, table 6"
    assert published.differences(as_paper, of) == {}
    assert published.differences(as_paper | {"depth": 110}, of) == {
        "warmup": ("none", "error"),
        "warmup_steps": (400, "no limit"),
    }
    changed = as_paper | {"ghost_batch": None, "lr": 0.05}
    assert published.differences(changed, of) == {"ghost_batch": (None, 64), "lr": (0.05, 0.1)}
    assert published.differences(as_paper, "He et al. 2016, table 1") == {"warmup": ("none", "steps")}
    copies = as_paper | {"data": "CIFAR-10 (JPEG q75)"}
    assert published.differences(copies, of) == {"data": ("CIFAR-10 (JPEG q75)", "CIFAR-10")}


def test_the_protocol_names_settings_that_there_are(cifar):
    for source in ("He et al. 2015, table 6", "He et al. 2016, table 1"):
        published.differences(dict(cifar.runs.iloc[0]), source)  # a setting that is none would be a KeyError


def test_the_digitised_curves_end_at_the_tabulated_errors():
    # Both from He et al. 2015, read independently: the right end of figure 6, and table 6.
    table = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.61}
    curve = published.curve("he2015-fig6")
    end = curve[(curve["model"] == "resnet") & (curve["metric"] == "test_error") & (curve["step"] >= 55_000)]
    for depth, error in table.items():
        assert end[end["depth"] == depth]["value"].mean() == pytest.approx(error, abs=0.11)
        number = [
            n for n in published.numbers() if (n["model"], n["depth"], n["source"][-7:]) == ("resnet", depth, "table 6")
        ]
        assert number[0]["value"] == error


def test_the_tabulated_ends_of_figure_6_are_those_of_its_curves():
    curve = published.curve("he2015-fig6")
    end = curve[curve["step"] >= 55_000].groupby(["model", "depth", "metric"])["value"].mean()
    for number in published.numbers():
        if number["source"].endswith("fig. 6 (digitised)"):
            key = number["model"], number["depth"], number["metric"]
            assert end[key] == pytest.approx(number["value"], abs=0.03), key


def test_an_unknown_published_curve_is_refused():
    with pytest.raises(ValueError, match="no published curve 'fig7'; there are he2015-fig6"):
        published.curve("fig7")


# Typesetting ---------------------------------------------------------------------------------------------------

AWKWARD = r"50 % of λ<1_000 & {a}#1 $5 ~ ^ \ | x±y −1 “ok” ≥ 2 → ∞"


def awkward():
    head = [("claim_1", ""), ("error, %", "running"), ("error, %", "clean"), ("two\nlines", "")]
    rows = [[f"{AWKWARD}\n[0, 1]", "1.00 ± 0.10", "–", "−2\n[−3, −1]"]]
    layout = typeset.Layout(head, rows, ["X", "±", "±", "r"])
    return typeset.Table("made-up", "awkward", "Awkward", AWKWARD, head, rows, [{"a": 1.5}], layout, layout)


def test_latex_leaves_no_character_with_a_meaning():
    body = typeset.escape(AWKWARD)
    assert (
        r"50~\% of $\lambda$$<$1\_000 \& \{a\}\#1 $\$$5 \textasciitilde{} \textasciicircum{} \textbackslash{}" in body
    )
    assert body.isascii()


def test_latex_has_each_character_of_every_experiment_and_quantity():
    said = [quantity.label for quantity in QUANTITIES.values()]
    for name in sorted(path.stem for path in EXPERIMENTS[-1].glob("*.yaml")):
        e = load(name)
        said += [e.question, e.source, *(c.says for c in e.claims), *(f.title for f in e.figures)]
    assert set(typeset.escape(" ".join(said))) <= set(string.printable) | set("éöü")  # pdflatex knows these letters


def test_latex_has_booktabs_rules_a_caption_and_a_label():
    code = typeset.latex(awkward(), awkward().wide)
    assert [code.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert r"\label{tab:made-up-awkward" in code
    assert r"\caption{50~\% of $\lambda$" in code
    assert r"\multicolumn{4}{c}{error,~\%}" in code
    assert r"1.00 & \,$\pm$\,0.10 & -- & " in code
    assert r"[t]{@{}r@{}}$-$2 \\{}[" in code  # a bracket behind \\ would be read as its argument


def test_markdown_keeps_its_columns_whatever_a_cell_says():
    text = typeset.markdown([("a", ""), ("b", "c")], [["x | y\nz", "1.10"]])
    head, _, row = text.splitlines()
    assert head.split("|")[2].strip() == "b c"
    assert row.startswith(r"| x \| y z |")
    assert row.endswith("| 1.10  |")  # words, not numbers to be shortened


def test_no_value_of_a_setting_is_shown_as_a_key():
    choices = {f.name: f.metadata.get("choices", ()) for part in (Model, Data, Optim) for f in fields(part)}
    shown = {name: value for name, of in choices.items() for value in of if "_" in words.value(name, value)}
    assert shown == {}
    assert words.value("order", "relu_before_addition") == "ReLU before addition"


# What is committed --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed():
    """Every table of every committed experiment."""
    every = []
    for name in report.collected(report.RESULTS):
        frame = frames.load(load(name), report.RESULTS / name)
        verdicts = [decide(claim, frame) for claim in frame.experiment.claims]
        every += [tables.verdict_table(verdicts, frame), tables.error_table(frame)]
    return every


def test_large_numbers_are_said_short():
    assert shown.interval(1229290.64, -912484.33, 3616063.83, "+") == "+1.23e6 [−9.12e5, +3.62e6]"
    assert shown.two(99_999.5) == "99999.50"


def test_every_committed_table_is_narrower_than_its_page(committed):
    for table in committed:
        assert typeset.inches(table.wide) <= typeset.WIDE, table.name
        assert typeset.inches(table.column) <= typeset.COLUMN, table.name


def test_committed_tables_have_words_and_no_keys(committed):
    for table in committed:
        code = typeset.latex(table, table.wide) + typeset.latex(table, table.column)
        assert r"\_" not in code
        assert "makebox" not in code
        assert code.isascii()


def test_labels_are_unique_over_experiments(committed):
    code = "".join(typeset.latex(table, layout) for table in committed for layout in (table.wide, table.column))
    labels = re.findall(r"\\label\{(.*?)\}", code)
    assert len(labels) == len(set(labels)) == 2 * len(committed)
    assert "tab:degradation-digits-verdicts" in labels


PAGES = {
    "column": r"\documentclass[twocolumn]{article}\usepackage[textwidth=6.85in,columnsep=0.25in]{geometry}",
    "wide": r"\documentclass{article}\usepackage[textwidth=5.5in]{geometry}",
}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_every_table_compiles_on_one_and_on_two_columns_and_no_box_is_overfull(
    page, committed, measured, cifar, tmp_path
):
    shown = [
        *committed,
        awkward(),
        tables.verdict_table([], measured[0]),
        tables.error_table(cifar),
        tables.paper_table(cifar),
    ]
    layouts = [(table, table.wide) for table in shown] + [(table, table.column) for table in shown]
    parts = [typeset.latex(table, layout) + "\\clearpage" for table, layout in layouts]
    lines = [PAGES[page], r"\usepackage[utf8]{inputenc}", r"\usepackage{booktabs,tabularx}", r"\begin{document}"]
    (tmp_path / "t.tex").write_text("\n".join([*lines, *parts, r"\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in (tmp_path / "t.log").read_text(errors="replace")
