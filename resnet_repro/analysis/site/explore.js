// The part of an experiment's page where its curves are filtered, coloured and zoomed.
"use strict";

(async () => {
  const { element, select, stroke, settings, sorted, median, number, load } = site;
  const place = document.getElementById("explorer");
  const id = place.dataset.experiment;
  const MANY = 12; // boxes of one setting that are shown without being asked for

  const CROWD = 150; // runs that would hide their medians

  let runs, points;
  try {
    [runs, points] = await Promise.all([load("runs", id), load("points", id)]);
  } catch (error) {
    place.replaceChildren(element("p", {}, `The measurements cannot be shown: ${error.message}.`));
    return;
  }
  const metrics = Object.keys(points);
  if (!metrics.length) {
    place.replaceChildren(element("p", {}, "Nothing was measured on the way."));
    return;
  }
  const { of, words } = settings(runs);
  const filters = [...runs.by, "seed"];
  const chosen = Object.fromEntries(filters.map((s) => [s, new Set(runs.ids.map((_, i) => of(s, i)))]));
  const first = ["train_error_running", "gradient_acf", "output_cosine"].find((m) => points[m]) || metrics[0];
  const state = {
    metric: first,
    hue: ["depth", "shortcut_scale", "model"].find((s) => runs.by.includes(s)) || runs.by[0] || "seed",
    scale: points[first].scale,
    lines: runs.ids.length > CROWD ? "medians" : "both",
    step: "",
  };

  // Colours: of plain and residual as in the figures; numbers from yellow-green to violet; others around the circle.
  function colours(setting) {
    const values = sorted(runs.ids.map((_, i) => of(setting, i)));
    const numeric = values.every((v) => !Number.isNaN(Number(v)));
    return new Map(values.map((v, k) => {
      const known = setting === "model" && { "plain net": "var(--plain)", ResNet: "var(--resnet)" }[v];
      const hue = numeric ? 95 + 215 * (values.length > 1 ? k / (values.length - 1) : 0.5) : 30 + 360 * k / values.length;
      return [v, known || `oklch(var(--ramp) var(--chroma) ${hue.toFixed(0)})`];
    }));
  }

  const chart = element("div");
  const legend = element("ul", { class: "legend" });
  const said = element("p", { class: "quiet", role: "status" });
  const table = element("div");
  const controls = element("div", { class: "controls" });

  function filter(setting) {
    const values = sorted(runs.ids.map((_, i) => of(setting, i)));
    const boxes = values.map((v) => {
      const box = element("input", { type: "checkbox", checked: true, onchange: () => { chosen[setting][box.checked ? "add" : "delete"](v); draw(); } });
      return [v, box, element("label", {}, box, v)];
    });
    const set = (which) => () => {
      for (const [v, box] of boxes) { box.checked = which; chosen[setting][which ? "add" : "delete"](v); }
      draw();
    };
    const button = (name, which) => element("button", { type: "button", class: "all", "aria-label": `${name} of ${runs.words[setting]}`, onclick: set(which) }, name);
    const both = values.length > 3 ? [button("all", true), " ", button("none", false)] : [];
    const group = element("fieldset", {}, element("legend", {}, runs.words[setting]), ...boxes.map(([, , label]) => label), ...both);
    if (setting !== "seed" && values.length <= MANY) return group;
    return element("details", {}, element("summary", {}, `${runs.words[setting]}: ${values.length}`), group);
  }

  function lines() {
    const { grids, lines: every } = points[state.metric];
    return every
      .filter(([run, , step]) => filters.every((s) => chosen[s].has(of(s, run))) && (step === null || String(step) === state.step))
      .map(([run, grid, , y]) => ({ run, x: grids[grid], y }));
  }

  // Runs that differ in nothing but the seed: their median at each place that all share.
  function cells(shown) {
    const groups = new Map();
    for (const line of shown) {
      const key = JSON.stringify(runs.by.map((s) => of(s, line.run)));
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(line);
    }
    return [...groups.values()].map((group) => {
      const x = group.reduce((a, b) => (b.x.length > a.length ? b.x : a), group[0].x);
      const y = x.map((_, i) => median(group.filter((line) => line.x[i] === x[i]).map((line) => line.y[i])));
      return { run: group[0].run, group, x, y };
    });
  }

  function draw() {
    const metric = points[state.metric];
    const shown = lines();
    const palette = colours(state.hue);
    const dashed = runs.by.includes("model") && state.hue !== "model";
    const look = (run) => ({ colour: palette.get(of(state.hue, run)), dash: dashed && of("model", run) === "plain net" ? "7 4" : null });
    const name = (run) => runs.by.map((s) => words(s, of(s, run))).join(", ") || "all";
    const medians = cells(shown);
    const drawn = [];
    if (state.lines !== "medians") drawn.push(...shown.map((l) => ({ ...l, ...look(l.run), kind: state.lines === "runs" ? "median" : "run", name: `${name(l.run)}, seed ${of("seed", l.run)}` })));
    if (state.lines !== "runs") drawn.push(...medians.map((l) => ({ ...l, ...look(l.run), kind: "median", name: `${name(l.run)}, median of ${l.group.length}` })));
    site.chart(chart, { lines: drawn, x: metric.axis, y: metric.label, scale: state.scale, about: `${metric.label} over ${metric.axis}, ${medians.length} cells` });
    const used = sorted(shown.map((l) => of(state.hue, l.run)));
    const entries = used.map((v) => element("li", {}, stroke({ colour: palette.get(v) }), words(state.hue, v)));
    if (dashed) entries.push(element("li", {}, stroke({ colour: "currentColor", dash: "7 4" }), "plain net"), element("li", {}, stroke({ colour: "currentColor" }), "ResNet"));
    legend.replaceChildren(...entries);
    said.textContent = `${new Set(shown.map((l) => l.run)).size} of ${runs.ids.length} runs shown, in ${medians.length} cell${medians.length === 1 ? "" : "s"}.`;
    tabulate(medians, name, metric);
  }

  function tabulate(medians, name, metric) {
    const rows = medians.map((cell) => {
      const last = cell.group.map((line) => line.y[line.y.length - 1]).filter((v) => v !== null);
      const numbers = [last.length, median(last), last.length ? Math.min(...last) : null, last.length ? Math.max(...last) : null];
      return element("tr", {}, element("th", { scope: "row" }, name(cell.run)), ...numbers.map((v) => element("td", {}, number(v))));
    });
    const head = ["cell", "runs", "median", "lowest", "highest"].map((h) => element("th", { scope: "col" }, h));
    table.replaceChildren(
      element("p", { class: "quiet" }, `${metric.label}: the last value of each run.`),
      element("div", { class: "wide", role: "region", "aria-label": "Last values", tabindex: 0 }, element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows))),
    );
  }

  function control() {
    const metric = points[state.metric];
    const steps = metric.axis === "step" ? [] : sorted(metric.lines.map((l) => String(l[2])));
    if (!steps.includes(state.step)) state.step = steps[0] || "";
    const set = (key) => (v) => { state[key] = v; draw(); };
    controls.replaceChildren(
      select("measured", metrics.map((m) => [m, points[m].label]), state.metric, (v) => { state.metric = v; state.scale = points[v].scale; control(); draw(); controls.querySelector("select").focus(); }),
      select("colour", [...runs.by, "seed"].map((s) => [s, runs.words[s]]), state.hue, set("hue")),
      select("axis", [["sqrt", "square root"], ["linear", "linear"], ["log", "logarithmic"]], state.scale, set("scale")),
      select("lines", [["both", "medians and runs"], ["medians", "medians"], ["runs", "runs"]], state.lines, set("lines")),
      ...(steps.length > 1 ? [select("at step", steps.map((s) => [s, s]), state.step, set("step"))] : []),
    );
  }

  control();
  place.replaceChildren(
    controls,
    element("div", { class: "filters" }, ...filters.map(filter)),
    said, legend, chart,
    element("details", {}, element("summary", {}, "The same as a table"), table),
  );
  draw();
})();
