// The data of the experiments, loaded when they are needed, and how an element is made. No text becomes markup.
"use strict";

const site = (() => {
  const live = new URLSearchParams(location.search).get("live"); // seconds; of a page that is served while a sweep goes on
  const waiting = {}; // what is loaded, by kind and experiment: {promise, resolve}

  // The data of one kind ("runs", "points", "surfaces") of an experiment; a page from disk may load scripts, and nothing else.
  function load(kind, id) {
    const key = `${kind} ${id}`;
    if (!waiting[key]) {
      waiting[key] = {};
      waiting[key].promise = new Promise((resolve, reject) => {
        waiting[key].resolve = resolve;
        const script = document.createElement("script");
        script.src = `../${encodeURIComponent(id)}/report-${kind}.js${live ? `?${Date.now()}` : ""}`;
        script.onerror = () => reject(new Error(`${script.src} cannot be read`));
        document.head.append(script);
      });
    }
    return waiting[key].promise;
  }

  const come = (kind) => (id, found) => waiting[`${kind} ${id}`].resolve(found);

  // The value of a column ({of, at}) for run i.
  const value = (column, i) => column.of[column.at ? column.at[i] : 0];

  // How the settings of runs are said: of run i as text, and with the name of the setting where a value does not tell it.
  const settings = (runs) => ({
    of: (setting, i) => String(value(runs.settings[setting], i)),
    words: (setting, v) => (["model", "norm"].includes(setting) ? v : `${runs.words[setting]} ${v}`),
  });

  // An element: attributes, listeners (on...), and children, which are elements or text.
  function element(name, attributes = {}, ...children) {
    const svg = ["svg", "path", "line", "text", "g", "rect", "circle"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, what] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), what);
      else if (what !== null && what !== false) made.setAttribute(key, what === true ? "" : what);
    }
    made.append(...children);
    return made;
  }

  const labelled = (words, control) => element("label", {}, words, control);

  function select(words, options, chosen, change) {
    const control = element("select", { onchange: () => change(control.value) });
    for (const [key, said] of options) control.append(element("option", { value: key, selected: key === chosen }, said));
    return labelled(words, control);
  }

  // A line as it is drawn, for a legend.
  function stroke({ colour, dash }) {
    const line = element("line", { x1: 0, x2: 30, y1: 6, y2: 6, stroke: colour, "stroke-dasharray": dash || null });
    return element("svg", { viewBox: "0 0 30 10", "aria-hidden": "true" }, line);
  }

  // A number as a reader wants it: four digits.
  function number(x) {
    if (x === null || x === undefined) return "–";
    const size = Math.abs(x);
    if (size !== 0 && (size < 1e-3 || size >= 1e7)) return x.toExponential(2).replace("-", "−");
    return String(Number(x.toPrecision(size >= 1e4 ? 8 : 4))).replace("-", "−");
  }

  // Round numbers from low to high, about `count` of them.
  function round(low, high, count) {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
    const found = [];
    for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) found.push(Number(v.toPrecision(12)));
    return found;
  }

  function median(values) {
    const known = values.filter((v) => v !== null).sort((a, b) => a - b);
    const middle = Math.floor(known.length / 2);
    if (!known.length) return null;
    return known.length % 2 ? known[middle] : (known[middle - 1] + known[middle]) / 2;
  }

  // Values as a reader expects them: numbers by size, the others as they came.
  function sorted(values) {
    const found = [...new Set(values)];
    return found.every((v) => v !== "" && !Number.isNaN(Number(v))) ? found.sort((a, b) => a - b) : found;
  }

  // With ?live=5 a page looks every 5 seconds whether it was rendered again, and then shows itself anew.
  async function follow(before) {
    const answer = await fetch(location.pathname, { method: "HEAD", cache: "no-store" }).catch(() => null);
    const now = answer?.ok ? answer.headers.get("Last-Modified") : null;
    if (before && now && now !== before) location.reload();
    else setTimeout(follow, 1000 * live, now || before);
  }
  if (live) follow(null);

  return { load, runs: come("runs"), points: come("points"), surfaces: come("surfaces"), value, settings, element, labelled, select, stroke, number, round, median, sorted };
})();
