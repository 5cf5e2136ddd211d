// Every run: a table to search and filter, one run in full, and two side by side. The address says which are open.
"use strict";

(async () => {
  const { element, select, labelled, stroke, value, sorted, number, load } = site;
  const place = document.getElementById("browser");
  const chosen = document.getElementById("chosen");
  const ids = JSON.parse(place.dataset.experiments);
  const PAGE = 100;
  const COLUMNS = ["depth", "norm", "shortcut_scale", "lr", "seed"];
  const ERRORS = ["train_error_clean", "test_error"];

  const data = {};
  const missing = [];
  await Promise.all(ids.map((id) => load("runs", id).then((found) => { data[id] = found; }, (error) => missing.push(error.message))));
  const rows = ids.filter((id) => data[id]).flatMap((id) => data[id].ids.map((run, i) => row(id, run, i)));

  function row(id, run, i) {
    const d = data[id];
    const setting = (s) => (d.settings[s] ? String(value(d.settings[s], i)) : "");
    const told = ["model", ...new Set([...d.by, ...COLUMNS])].map(setting);
    return {
      id, run, i, status: value(d.status, i), network: setting("model"),
      cells: COLUMNS.map(setting), errors: ERRORS.map((m) => (d.numbers[m] ? value(d.numbers[m], i) : null)),
      text: `${id} ${run} ${told.join(" ")}`.toLowerCase(),
    };
  }

  const state = { experiment: "", status: "", network: "", depth: "", text: "", sort: null, down: false, count: PAGE };
  const ticked = []; // at most two rows
  const body = element("tbody");
  const said = element("p", { role: "status" });
  const more = element("button", { type: "button", onclick: () => { state.count += PAGE; draw(); } }, "Show more");
  const HEAD = ["compare", "run", "experiment", "network", "depth", "norm", "λ", "learning rate", "seed", "ended", "training error, %", "test error, %"];
  const KEYS = [null, (r) => r.run, (r) => r.id, (r) => r.network, ...COLUMNS.map((_, k) => (r) => r.cells[k]), (r) => r.status, ...ERRORS.map((_, k) => (r) => r.errors[k])];

  function matching() {
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter((r) => (!state.experiment || r.id === state.experiment) && (!state.status || r.status === state.status)
      && (!state.network || r.network === state.network) && (!state.depth || r.cells[0] === state.depth) && words.every((w) => r.text.includes(w)));
    if (state.sort === null) return found;
    const key = KEYS[state.sort];
    const missingLast = (v) => v === null || v === "";
    return found.sort((a, b) => {
      const [u, v] = [key(a), key(b)];
      if (missingLast(u) || missingLast(v)) return missingLast(u) - missingLast(v);
      const order = typeof u === "number" ? u - v : String(u).localeCompare(String(v), "en", { numeric: true });
      return state.down ? -order : order;
    });
  }

  const address = (r) => `${encodeURIComponent(r.id)}/${encodeURIComponent(r.run)}`;

  function draw() {
    const found = matching();
    body.replaceChildren(...found.slice(0, state.count).map((r) => {
      const box = element("input", { type: "checkbox", "aria-label": `compare ${r.run}`, checked: ticked.includes(r), onchange: () => tick(r, box.checked) });
      const cells = [r.id, r.network, ...r.cells, r.status, ...r.errors.map(number)];
      return element("tr", {}, element("td", {}, box), element("td", { class: "run" }, element("a", { href: `#${address(r)}` }, r.run)), ...cells.map((c) => element("td", { class: "short" }, c)));
    }));
    said.textContent = `${found.length} of ${rows.length} runs` + (found.length > state.count ? `, the first ${state.count} shown` : "") + (missing.length ? `. ${missing.join("; ")}.` : ".");
    more.hidden = found.length <= state.count;
  }

  function tick(r, on) {
    if (on) ticked.push(r);
    else ticked.splice(ticked.indexOf(r), 1);
    if (ticked.length > 2) ticked.shift();
    if (ticked.length === 2) location.hash = ticked.map(address).join("&");
    draw();
  }

  function header(words, k) {
    if (!KEYS[k]) return element("th", { scope: "col" }, words);
    const button = element("button", { type: "button", onclick: () => {
      state.down = state.sort === k && !state.down;
      state.sort = k;
      for (const other of head.children) other.removeAttribute("aria-sort");
      button.parentNode.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      draw();
    } }, words);
    return element("th", { scope: "col" }, button);
  }
  const head = element("tr", {});
  head.append(...HEAD.map(header));

  // One run, or two side by side, with what differs marked.
  async function open(shown) {
    chosen.hidden = !shown.length;
    if (!shown.length) return;
    const two = shown.length === 2;
    const d = shown.map((r) => data[r.id]);
    const line = (name, values, of = number) => {
      const differs = two && JSON.stringify(values[0]) !== JSON.stringify(values[1]);
      const numeric = values.every((v) => typeof v === "number");
      const cells = values.map((v) => element("td", {}, typeof v === "number" ? of(v) : v ?? "–"));
      if (two) cells.push(element("td", {}, differs && numeric ? number(values[0] - values[1]) : ""));
      return element("tr", differs ? { class: "differs" } : {}, element("th", { scope: "row" }, name), ...cells);
    };
    const part = (title, names, column, call = (n) => n) => {
      const known = [...new Set(d.flatMap((x) => names(x)))];
      const lines = known.map((n) => line(call(n), shown.map((r, k) => (column(d[k])[n] ? value(column(d[k])[n], r.i) : null))));
      const heads = ["", ...shown.map((r) => (two ? r.run : "value")), ...(two ? ["difference"] : [])];
      return [
        element("h3", {}, title),
        element("div", { class: "wide", role: "region", "aria-label": title, tabindex: 0 },
          element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((h) => (h ? element("th", { scope: "col" }, h) : element("td", {}))))), element("tbody", {}, ...lines))),
      ];
    };
    const said = (n) => d.map((x) => x.words[n]).find(Boolean) || n;
    const chart = element("div");
    chosen.replaceChildren(
      element("h2", { tabindex: -1 }, two ? "Two runs side by side" : shown[0].run),
      ...shown.map((r, k) => element("p", {}, two ? `${r.run}: ` : "", `${value(d[k].status, r.i)}; of `, element("a", { href: `../${encodeURIComponent(r.id)}/report.html` }, r.id), `, ${d[k].question}`)),
      element("h3", {}, "To train again"),
      ...shown.map((r, k) => element("pre", { class: "wraps" }, element("code", {}, `.venv/bin/python -m resnet_repro.train ${value(d[k].overrides, r.i)}`))),
      element("h3", {}, "Measured on the way"), chart,
      ...part("Numbers", (x) => Object.keys(x.numbers), (x) => x.numbers, said),
      ...part("Settings", (x) => Object.keys(x.settings), (x) => x.settings, said),
      ...part("Provenance", (x) => Object.keys(x.provenance), (x) => x.provenance),
    );
    chosen.querySelector("h2").focus();
    await curves(chart, shown);
  }

  async function curves(place, shown) {
    let points;
    try {
      points = await Promise.all(shown.map((r) => load("points", r.id)));
    } catch (error) {
      place.replaceChildren(element("p", {}, `The curves cannot be shown: ${error.message}.`));
      return;
    }
    const own = shown.map((r, k) => Object.fromEntries(Object.entries(points[k]).map(([m, found]) => [m, found.lines.filter((l) => l[0] === r.i)]).filter(([, found]) => found.length)));
    const metrics = [...new Set(own.flatMap(Object.keys))];
    if (!metrics.length) { place.replaceChildren(element("p", {}, "Nothing.")); return; }
    const info = (m) => points.map((p) => p[m]).find(Boolean);
    const inside = element("div");
    const look = (k) => ({ colour: `oklch(var(--ramp) var(--chroma) ${k ? 330 : 230})`, dash: k ? "7 4" : null });
    const legend = shown.map((r, k) => element("li", {}, stroke(look(k)), r.run));
    const show = (metric) => {
      const lines = own.flatMap((found, k) => (found[metric] || []).map(([, grid, step, y]) => ({
        x: points[k][metric].grids[grid], y, kind: "median", ...look(k),
        name: shown[k].run + (step === null ? "" : `, after step ${step}`),
      })));
      site.chart(inside, { lines, x: info(metric).axis, y: info(metric).label, scale: info(metric).scale, about: `${info(metric).label} over ${info(metric).axis}` });
    };
    const first = metrics.includes("train_error_running") ? "train_error_running" : metrics[0];
    place.replaceChildren(element("div", { class: "controls" }, select("measured", metrics.map((m) => [m, info(m).label]), first, show)), element("ul", { class: "legend" }, ...legend), inside);
    show(first);
  }

  // #experiment, #experiment/run, or #experiment/run&experiment/run
  function follow() {
    const parts = location.hash.slice(1).split("&").filter(Boolean).map((p) => p.split("/").map(decodeURIComponent));
    if (parts.length === 1 && parts[0].length === 1 && data[parts[0][0]]) {
      state.experiment = experiment.querySelector("select").value = parts[0][0];
      draw();
    }
    open(parts.map(([id, run]) => rows.find((r) => r.id === id && r.run === run)).filter(Boolean).slice(0, 2));
  }

  const set = (key) => (v) => { state[key] = v; state.count = PAGE; draw(); };
  const options = (words, values) => [["", words], ...sorted(values).map((v) => [v, v])];
  const search = element("input", { type: "search", oninput: () => set("text")(search.value) });
  const experiment = select("experiment", options("all", rows.map((r) => r.id)), "", set("experiment"));
  place.replaceChildren(
    element("h2", {}, "The list"),
    element("div", { class: "controls" },
      labelled("search, for example: resnet 56", search), experiment,
      select("network", options("all", rows.map((r) => r.network)), "", set("network")),
      select("depth", options("all", rows.map((r) => r.cells[0])), "", set("depth")),
      select("ended", options("all", rows.map((r) => r.status)), "", set("status"))),
    said,
    element("div", { class: "wide", role: "region", "aria-label": "Runs", tabindex: 0 }, element("table", {}, element("thead", {}, head), element("tbody", {}))),
    more,
  );
  place.querySelector("tbody").replaceWith(body);
  window.addEventListener("hashchange", follow);
  draw();
  follow();
})();
