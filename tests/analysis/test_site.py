"""The site: its data against what was collected, and its pages in a real browser, opened from disk."""

import csv
import gzip
import json
import math
import os
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from resnet_repro import experiment, project, report
from resnet_repro.planning import plan

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NAME = "hostile"
COMMITTED = project.RESULTS / "surfaces-digits"
EVIL = '</script><img src=x onerror="document.title=1"> & "quoted" \u2028 {{ 7 * 7 }}'
FILE = f"""\
base: tiny
question: {json.dumps(EVIL)}
source: "<b>nowhere</b>"
probes: [gradients, surface]
grid:
  - {{task: digits, model: [plain, resnet], model.depth: [8, 14], model.width: 4, optim.steps: 40,
     optim.milestones: [20], probes.curve_every: 5, seed: [0, 1, 2]}}
claims:
  - {{id: learns, says: {json.dumps("A ResNet-8 learns." + EVIL)}, metric: test_error,
     of: {{model: resnet, depth: 8}}, region: [0, 90]}}
  - {{id: same, says: "Plain nets and ResNets end alike.", metric: test_error, of: {{model: resnet, depth: 14}},
     minus: {{model: plain, depth: 8}}, region: [-5, 5], smallest_effect: 2}}
figures:
  - {{name: curves, draw: learning_curves, y: [train_error_running], panel: model, hue: depth,
     title: {json.dumps(EVIL)}}}
"""


def outcome(settings):
    base = 10 * settings["depth"] if settings["model"] == "plain" else settings["depth"]
    if settings["model"] == "plain" and settings["depth"] == 14 and settings["seed"] == 2:
        return {"diverged_step": 20}
    return {"errors": min(100.0, base / 3 + settings["seed"] / 7)}


@pytest.fixture(scope="module")
def results(write_data, tmp_path_factory):
    """A results folder with one experiment whose words are hostile, rendered."""
    place = tmp_path_factory.mktemp("site")
    (place / "experiments").mkdir()
    (place / "experiments" / f"{NAME}.yaml").write_text(FILE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(project, "EXPERIMENTS", (place / "experiments", *project.EXPERIMENTS))
        write_data(experiment.load(NAME), place / "results" / NAME, outcome)
        one_value_is_not_finite(place / "results" / NAME / "data" / "points.csv.gz")
        report.render(NAME, place / "results")
        yield place / "results"


def one_value_is_not_finite(path):
    """Of the ResNet-14 of seed 0 the loss at (1, 1)."""
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    which = next(k for k, line in enumerate(lines) if re.match(r"resnet14-s0-.*,loss_on_plane,1,1,", line))
    lines[which] = lines[which].rpartition(",")[0] + ",inf"
    path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode()))


def called(path):
    """What a script of data says: the object it hands over."""
    text = path.read_text(encoding="utf-8")
    assert "<" not in text
    arguments = re.fullmatch(r"site\.(?:runs|points|surfaces)\((.*)\)\n", text, re.S)[1]
    name, found = json.loads(f"[{arguments}]")
    assert name == path.parent.name
    return found


def test_the_data_of_the_site_are_those_collected(results):
    folder = results / NAME
    runs, points = called(folder / "report-runs.js"), called(folder / "report-points.js")
    with open(folder / "data" / "runs.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert runs["ids"] == [row["run_id"] for row in rows]
    assert runs["by"] == ["model", "depth"]
    for name in ("test_error", "parameters"):
        column = runs["numbers"][name]
        found = [column["of"][at] for at in column.get("at", [0] * len(rows))]
        assert found == pytest.approx([float(row[name]) for row in rows], rel=1e-5)
    overrides = [runs["overrides"]["of"][at].split() for at in runs["overrides"]["at"]]
    assert overrides == [list(one.overrides) for one in plan(experiment.load(NAME))]
    with gzip.open(folder / "data" / "points.csv.gz", "rt", encoding="utf-8") as file:
        told = {
            (row["run_id"], row["metric"], float(row["step"]), float(row["x"] or "nan")): float(row["value"])
            for row in csv.DictReader(file)
            if not row["y"]
        }
    shown = {}
    for metric, found in points.items():
        for run, grid, step, values in found["lines"]:
            for place, value in zip(found["grids"][grid], values, strict=True):
                key = (place, math.nan) if step is None else (step, place)
                shown[runs["ids"][run], metric, *map(float, key)] = value
    text = {str(key): value for key, value in told.items()}  # nan is not equal to itself
    assert {str(key): value for key, value in shown.items()} == pytest.approx(text, rel=1e-3)


def surfaces_collected(folder):
    """{(run, metric, step, x, y): value} as the CSV file has it; nan for what is not finite."""
    with gzip.open(folder / "data" / "points.csv.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"].startswith("loss_on_plane")]
    values = [(row, float(row["value"] or "nan")) for row in rows]
    return {
        (row["run_id"], row["metric"], *(float(row[k]) for k in ("step", "x", "y"))): v
        if math.isfinite(v)
        else math.nan
        for row, v in values
    }


@pytest.mark.parametrize("committed", [True, False])
def test_the_surfaces_of_the_site_are_those_collected(results, committed):
    folder = COMMITTED if committed else results / NAME
    ids, told, shown = called(folder / "report-runs.js")["ids"], surfaces_collected(folder), {}
    for metric, found in called(folder / "report-surfaces.js").items():
        assert found["scale"] == "log"
        for run, at, step, values in found["surfaces"]:
            grid = found["grids"][at]
            places = [(x, y) for y in grid["y"] for x in grid["x"]]
            for (x, y), value in zip(places, values, strict=True):
                shown[ids[run], metric, float(step), float(x), float(y)] = math.nan if value is None else value
    assert shown == pytest.approx(told, rel=5e-4, nan_ok=True)
    assert sum(map(math.isnan, shown.values())) == (0 if committed else 1)


def test_an_experiment_without_surfaces_has_no_part_for_them():
    page = COMMITTED.parent / "degradation-digits" / "report.html"
    assert "surface" not in page.read_text(encoding="utf-8")
    assert not (page.parent / "report-surfaces.js").exists()


def test_every_link_of_the_pages_leads_to_a_file(results):
    for page in [*results.glob("*/*.html")]:
        links = re.findall(r'(?:href|src)="([^"]*)"', page.read_text(encoding="utf-8"))
        assert len(links) > 4
        for link in links:
            file = (page.parent / unquote(link.partition("#")[0])) if not link.startswith(("#", "data:")) else page
            assert file.is_file(), link


def test_the_first_page_leads_with_the_first_figure_and_to_every_part(results):
    text = (results / "site" / "index.html").read_text(encoding="utf-8")
    assert f'<a href="../{NAME}/report.html#figure-curves"><img src="../{NAME}/curves.svg"' in text
    parts = re.search(r'<nav class="parts".*?</nav>', text, re.S)[0]
    assert re.findall(r'href="#(.*?)"', parts) == re.findall(r'<h2 id="(chapter-.*?)"', text)


def test_a_site_that_was_edited_is_told(results, tmp_path):
    copy = Path(shutil.copytree(results, tmp_path / "results"))
    (copy / "site" / "index.html").write_text("edited")
    (copy / "site" / "mine.js").write_text("mine")
    (copy / NAME / "report-points.js").write_text("edited")
    told = [line.replace(f"{copy}/", "") for line in report.verify([NAME], copy)]
    assert told == [
        f"{NAME}/report-points.js differs from what the data give",
        "site/index.html differs from what the data give",
        "site/mine.js is extra: nothing makes it",
    ]


# In a browser --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(results, browser):
    """visit(page, ...): opens a page from disk; at the end nothing was loaded from elsewhere, nothing went wrong."""
    wrong, contexts = [], []

    def visit(page, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda said: wrong.append(said.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("requestfailed", lambda request: wrong.append(request.url))
        tab.on("request", lambda request: request.url.startswith(("file:", "data:")) or wrong.append(request.url))
        tab.goto(page if page.startswith("file:") else f"{results.as_uri()}/{page}")
        tab.wait_for_selector(".story, .chart path, #browser tbody tr")
        return tab

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


PAGES = {
    "index": "site/index.html",
    "questions": "site/questions.html",
    "report": f"{NAME}/report.html",
    "runs": "site/runs.html",
}


@pytest.mark.parametrize("page", PAGES)
def test_hostile_words_are_words(visit, page):
    tab = visit(PAGES[page])
    assert tab.evaluate("document.title") != "1"
    assert tab.locator("img[src='x'], main b:text('nowhere')").count() == 0
    if page in ("index", "report"):
        assert EVIL.replace("\u2028", " ") in tab.inner_text("main").replace("\u2028", " ")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_a_phone_and_a_desktop_and_axe_finds_nothing_in_light_and_dark(visit, page, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for scheme in ("light", "dark"):
        tab = visit(PAGES[page], viewport={"width": width, "height": 800}, color_scheme=scheme)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        # Without preload axe does not ask for the sheets anew, which a page from disk may not.
        found = axe.run(tab, options={"preload": False}).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"]) for v in found] == []


@pytest.mark.parametrize("width", [390, 1280])
def test_surfaces_fit_a_phone_and_a_desktop_and_axe_finds_nothing_in_light_and_dark(visit, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for scheme in ("light", "dark"):
        tab = near_the_surfaces(visit, PAGES["report"], viewport={"width": width, "height": 800}, color_scheme=scheme)
        tab.get_by_text("The same as tables").click()
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.run(tab, options={"preload": False}).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"]) for v in found] == []


def test_curves_are_filtered_and_walked_along_by_keyboard(visit, results):
    tab = visit(PAGES["report"])
    assert tab.locator(".chart path.run").count() == 12
    assert tab.locator(".chart path.median").count() == 4
    tab.get_by_role("checkbox", name="plain net").uncheck()
    tab.get_by_role("checkbox", name="14").uncheck()
    assert "3 of 12 runs shown, in 1 cell." in tab.inner_text("#explorer")
    assert tab.locator(".chart path.run").count() == 3
    tab.locator(".chart svg").first.hover()
    assert re.match(r"ResNet, depth 8, .*: \d", tab.inner_text(".readout"))
    tab.reload()
    tab.wait_for_selector(".chart path")
    tab.get_by_role("checkbox", name="plain net").uncheck()
    tab.get_by_role("checkbox", name="14").uncheck()
    tab.locator(".chart svg").first.focus()
    for key in ("ArrowRight", "ArrowRight", "+"):
        tab.keyboard.press(key)
    runs = called(results / NAME / "report-runs.js")
    curve = called(results / NAME / "report-points.js")["train_error_running"]
    run = next(i for i, name in enumerate(runs["ids"]) if name.startswith("resnet8-s0"))
    values = next(values for i, _, _, values in curve["lines"] if i == run)
    assert tab.inner_text(".readout") == f"ResNet, depth 8, seed 0: {values[1]:g} at step 10"
    tab.locator("#explorer").get_by_label("measured").select_option("gradient_norm_output")
    assert "0.1" in tab.inner_text(".chart")  # layer 1 of 10^-layer, on a logarithmic axis


def near_the_surfaces(visit, page, **options):
    """The page, scrolled to its surfaces, which were not loaded before."""
    tab = visit(page, **options | {"viewport": options.get("viewport", {"width": 1280, "height": 800})})
    tab.locator("#surfaces").scroll_into_view_if_needed()
    tab.wait_for_selector("canvas.map")
    return tab


DRAWN = (
    "canvas => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(canvas.toDataURL()))))"
)
COLOURS = """canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height), found = new Set();
    for (let k = 0; k < data.length; k += 4) if (data[k + 3] === 255) found.add(data.slice(k, k + 3).join());
    return found.size;
}"""


def test_the_surfaces_of_li_et_al_stand_side_by_side_and_say_what_was_measured(visit):
    tab = visit(f"{COMMITTED.as_uri()}/report.html", viewport={"width": 1280, "height": 800})
    loaded = "[...document.scripts].filter((script) => script.src.endsWith('/report-surfaces.js')).length"
    assert tab.evaluate(loaded) == 0
    tab.locator("#surfaces").scroll_into_view_if_needed()
    tab.wait_for_selector("canvas.map")
    assert tab.evaluate(loaded) == 1
    surfaces, maps = tab.locator("#surfaces canvas.surface"), tab.locator("#surfaces canvas.map")
    assert (surfaces.count(), maps.count()) == (2, 2)
    for canvas in (*surfaces.all(), *maps.all()):
        canvas.evaluate(DRAWN)
        assert canvas.evaluate(COLOURS) > 100
    told = surfaces_collected(COMMITTED)
    runs = called(COMMITTED / "report-runs.js")["ids"]
    plain, resnet = (next(run for run in runs if run.startswith(f"{net}56-s720-")) for net in ("plain", "resnet"))

    def values(metric, x, y):
        return [told[run, metric, 400.0, x, y] for run in (plain, resnet)]

    def said():
        number = r"([\d.]+(?:e\+\d+)?)"
        words = rf"At x (\S+), y (\S+): plain net, depth 56, seed 720: {number}; ResNet, depth 56, seed 720: {number}"
        text = tab.inner_text("#turner .readout").replace("\u2212", "-")
        return [float(value) for value in re.fullmatch(words, text).groups()]

    for canvas, run in zip(surfaces.all(), (plain, resnet), strict=True):
        own = [value for key, value in told.items() if key[:2] == (run, "loss_on_plane")]
        lowest, highest = re.search(r": from (\S+) to (\S+), ", canvas.get_attribute("aria-label")).groups()
        assert [float(lowest), float(highest)] == pytest.approx([min(own), max(own)], rel=5e-3)
    maps.nth(1).focus()  # it walks from the network on
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft"):
        tab.keyboard.press(key)
    assert said() == pytest.approx([0.125, 0.125, *values("loss_on_plane", 0.125, 0.125)], rel=1e-3)
    box = maps.first.bounding_box()
    tab.mouse.move(box["x"] + 62, box["y"] + 10)  # the upper left corner
    assert said() == pytest.approx([-1, 1, *values("loss_on_plane", -1.0, 1.0)], rel=1e-3)
    tab.locator("#turner").get_by_role("combobox", name="quantity").select_option("loss_on_plane_recomputed")
    assert said() == pytest.approx([-1, 1, *values("loss_on_plane_recomputed", -1.0, 1.0)], rel=1e-3)


def test_surfaces_are_turned_by_keyboard_by_mouse_and_by_buttons_both_at_once(visit):
    tab = near_the_surfaces(visit, PAGES["report"])
    surfaces = tab.locator("canvas.surface").all()

    def drawn():
        return [canvas.evaluate(DRAWN) for canvas in surfaces]

    start = drawn()
    seen = [start]
    surfaces[0].focus()
    for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"):
        tab.keyboard.press(key)
        seen.append(drawn())
        assert all(now != before for now, before in zip(seen[-1], seen[-2], strict=True))
    assert len({pictures[0] for pictures in seen[:4]}) == 4
    tab.keyboard.press("0")
    assert drawn() == start
    box = surfaces[1].bounding_box()
    tab.mouse.move(box["x"] + 100, box["y"] + 100)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 160, box["y"] + 120)
    tab.mouse.up()
    dragged = drawn()
    assert all(now != before for now, before in zip(dragged, start, strict=True))
    tab.mouse.move(box["x"] + 20, box["y"] + 20)
    assert drawn() == dragged
    tab.get_by_role("button", name="Turn back").click()
    assert drawn() == start
    tab.get_by_role("button", name="Turn left").click()
    assert drawn() != start


def test_what_is_not_finite_is_missing_and_both_surfaces_have_one_scale(visit):
    tab = near_the_surfaces(visit, PAGES["report"])
    missing = tab.get_by_text("1 of 9 values have no place here")
    assert missing.count() == 1  # of the ResNet-14, seed 0
    tab.locator("canvas.map").nth(1).focus()
    for key in ("ArrowRight", "ArrowUp"):
        tab.keyboard.press(key)
    readout = tab.locator("#turner .readout")
    assert readout.inner_text() == (
        "At x 1, y 1: plain net, depth 14, seed 0: 10; ResNet, depth 14, seed 0: no finite value"
    )
    tab.get_by_text("The same as tables").click()
    rows = tab.get_by_role("region", name="Values of ResNet, depth 14, seed 0").locator("tbody tr")
    assert rows.all_inner_texts() == ["1\t0.1\t1\t–", "0\t1\t1\t1", "−1\t10\t1\t0.1"]
    tab.get_by_role("combobox", name="seed of the second").select_option("1")
    assert missing.count() == 0
    assert readout.inner_text().endswith("ResNet, depth 14, seed 1: 10")
    tab.get_by_role("combobox", name="height").select_option("linear")
    label = (
        "Surface of loss along two random directions, nats, ResNet, depth 14, seed 1: from 0.1 to 10, 1 at 0, 0, linear"
    )
    assert tab.locator("canvas.surface").nth(1).get_attribute("aria-label").startswith(label)


def test_on_paper_the_figures_stand_for_the_surfaces(visit):
    tab = near_the_surfaces(visit, PAGES["report"])
    tab.emulate_media(media="print")
    assert not tab.locator("#surfaces").is_visible()


def test_runs_are_searched_opened_and_compared(visit, results):
    tab = visit(PAGES["runs"])
    tab.get_by_label("search").fill("resnet s1")
    assert tab.locator("#browser tbody tr").count() == 2
    tab.get_by_label("ended").select_option("diverged")
    assert tab.locator("#browser tbody tr").count() == 0
    tab.get_by_label("search").fill("")
    tab.locator("#browser tbody a").click()
    assert "resnet_repro.train" in tab.inner_text("#chosen pre")
    tab.get_by_label("ended").select_option("")
    for box in ("compare resnet8-s0", "compare resnet14-s1"):
        tab.get_by_label(box).check()
    tab.wait_for_selector("h2:text('Two runs side by side')")
    row = tab.locator("#chosen tr.differs", has_text="test error, %").first
    values = [float(text.replace("−", "-")) for text in row.locator("td").all_inner_texts()]
    expected = [outcome({"model": "resnet", "depth": d, "seed": s})["errors"] for d, s in ((8, 0), (14, 1))]
    assert values == pytest.approx([*expected, expected[0] - expected[1]], rel=1e-3)
    differing = tab.locator("#chosen tr.differs th").all_inner_texts()
    assert {"depth", "seed"} < set(differing)
    assert "learning rate" not in differing


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_served_page_that_is_rendered_again_shows_itself_anew(results, browser, tmp_path):
    copy = Path(shutil.copytree(results, tmp_path / "results"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=copy))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tab = browser.new_page()
    try:
        tab.goto(f"http://127.0.0.1:{server.server_port}/{NAME}/report.html?live=0.1")
        tab.wait_for_selector(".chart path")
        page = copy / NAME / "report.html"
        page.write_text(page.read_text(encoding="utf-8").replace("<h1>", "<h1>Another seed: "), encoding="utf-8")
        os.utime(page, (page.stat().st_mtime + 7,) * 2)  # a server tells whole seconds
        tab.wait_for_selector("h1:text('Another seed')", timeout=10_000)
        tab.wait_for_selector(".chart path")
    finally:
        tab.close()
        server.shutdown()
        server.server_close()
