// The part of an experiment's page where surfaces over two axes are turned, two side by side, each with its map.
"use strict";

(() => {
  const { element, select, settings, sorted, number, round, load } = site;
  const place = document.getElementById("turner");
  const id = place.dataset.experiment;
  const FINE = 3; // parts that each side of a measured square is drawn in
  const MARGIN = { left: 60, right: 12, top: 8, bottom: 44 }; // of a map
  const RISE = 1.15; // from the lowest value to the highest, where the plane is 2 wide
  const MESH = "rgb(255 255 255 / .25)"; // of the lines through what was measured
  const START = { turn: -0.62, tilt: 0.72 };
  // As in the figures: light is low, dark is high, which a print in gray keeps (viridis).
  const COLOURS = ["#fde725", "#bddf26", "#7ad151", "#44bf70", "#22a884", "#21918c", "#2a788e", "#355f8d", "#414487", "#482475", "#440154"]
    .map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const ORDER = ["first", "second"];
  const HELP = "Point at a map, or walk over it with the arrow keys, for the values. Drag a surface, or use the arrow keys, to turn both.";

  // The data are large: they are loaded when the reader comes near.
  new IntersectionObserver((seen, observer) => {
    if (!seen.some((one) => one.isIntersecting)) return;
    observer.disconnect();
    Promise.all([load("runs", id), load("surfaces", id)]).then(show, (error) => {
      place.replaceChildren(element("p", {}, `The surfaces cannot be shown: ${error.message}.`));
    });
  }, { rootMargin: "300px" }).observe(place);

  function show([runs, surfaces]) {
    const { of, words } = settings(runs);
    const name = (run) => runs.by.map((s) => words(s, of(s, run))).join(", ") || "all";
    const state = { metric: Object.keys(surfaces)[0], scale: "", cut: "", step: "", picked: [{}, {}], at: null, ...START };
    const controls = element("div", { class: "controls" });
    const bar = element("div", { class: "colours" });
    const readout = element("output", { class: "readout", "aria-live": "polite" }, HELP);
    const tables = element("div");
    const panels = ORDER.map((_, k) => {
      const panel = { controls: element("div", { class: "controls" }), missing: element("p", { class: "quiet" }) };
      panel.surface = element("canvas", { class: "surface", role: "img", tabindex: 0 });
      panel.map = element("canvas", { class: "map", role: "application", "aria-roledescription": "map", tabindex: 0 });
      panel.place = element("div", { role: "group", "aria-label": `${ORDER[k]} surface` }, panel.controls, panel.surface, panel.map, panel.missing);
      turned(panel.surface);
      walked(panel);
      return panel;
    });

    // What is chosen ---------------------------------------------------------------------------------------------

    const there = () => surfaces[state.metric].surfaces.filter(([, , step]) => String(step) === state.step);

    function choose() {
      const metric = surfaces[state.metric];
      const steps = sorted(metric.surfaces.map(([, , step]) => String(step)));
      if (!steps.includes(state.step)) state.step = steps[steps.length - 1];
      state.scale ||= metric.scale;
      if (!cuts().map(String).includes(state.cut)) state.cut = "";
      const set = (key) => (v) => { state[key] = v; choose(); refocus(controls, key); };
      controls.replaceChildren(
        marked("metric", select("quantity", Object.keys(surfaces).map((m) => [m, surfaces[m].label]), state.metric, (v) => { state.scale = state.cut = ""; set("metric")(v); })),
        marked("scale", select("height", [["log", "logarithmic"], ["linear", "linear"]], state.scale, set("scale"))),
        marked("cut", select("cut at", [["", "no value"], ...cuts().map((v) => [String(v), number(v)])], state.cut, set("cut"))),
        ...(steps.length > 1 ? [marked("step", select("after step", steps.map((s) => [s, s]), state.step, set("step")))] : []),
      );
      const cells = [...new Set(there().map(([run]) => name(run)))];
      const last = (model) => cells.findLast((cell) => cell.split(", ").includes(model));
      const first = [last("plain net") || cells[0], last("ResNet") || cells[cells.length - 1]];
      panels.forEach((panel, k) => pick(panel, k, cells, first[k]));
      draw();
    }

    // Powers of ten at which to cut: what is higher is drawn as a plateau, so that more is seen of the lower part, which
    // every run keeps.
    function cuts() {
      const ends = there().map(([, , , values]) => values.filter((v) => v !== null)).filter((v) => v.length).map((v) => [Math.min(...v), Math.max(...v)]);
      const [low, high] = [Math.max(...ends.map(([v]) => v)), Math.max(...ends.map(([, v]) => v))];
      return Array.from({ length: 25 }, (_, k) => Number(`1e${k - 12}`)).filter((v) => low < v && v < high).slice(0, 5);
    }

    function pick(panel, k, cells, first) {
      const picked = state.picked[k];
      if (!cells.includes(picked.cell)) picked.cell = first;
      const own = there().filter(([run]) => name(run) === picked.cell);
      const seeds = sorted(own.map(([run]) => of("seed", run)));
      if (!seeds.includes(picked.seed)) picked.seed = seeds[0];
      const set = (key) => (v) => { picked[key] = v; choose(); refocus(panel.controls, key); };
      panel.controls.replaceChildren(
        marked("cell", select(ORDER[k], cells.map((c) => [c, c]), picked.cell, set("cell"))),
        marked("seed", select(`seed of the ${ORDER[k]}`, seeds.map((s) => [s, s]), picked.seed, set("seed"))),
      );
      const [, grid, , values] = own.find(([run]) => of("seed", run) === picked.seed);
      Object.assign(panel, surfaces[state.metric].grids[grid], { values, name: `${picked.cell}, seed ${picked.seed}` });
    }

    const marked = (key, label) => { label.lastChild.dataset.key = key; return label; };
    const refocus = (group, key) => group.querySelector(`[data-key="${key}"]`).focus();

    // What is drawn of it ----------------------------------------------------------------------------------------

    const to = (v) => (v === null || (state.scale === "log" && v <= 0) ? NaN : state.scale === "log" ? Math.log10(v) : v);
    const cut = (v) => Math.min(to(v), state.cut ? to(Number(state.cut)) : Infinity);
    let low, high, levels; // of both panels, on the scale

    function draw() {
      const metric = surfaces[state.metric];
      for (const panel of panels) {
        const width = panel.x.length;
        const rows = panel.y.map((_, j) => finer(panel.values.slice(j * width, (j + 1) * width).map(cut)));
        panel.fine = across(across(rows).map(finer));
        panel.known = panel.values.filter((v) => !Number.isNaN(to(v)));
      }
      const every = panels.flatMap((panel) => panel.known.map(cut));
      [low, high] = every.length ? [Math.min(...every), Math.max(...every)] : [0, 1];
      if (low === high) { low -= 0.5; high += 0.5; }
      levels = contours();
      for (const panel of panels) {
        panel.lines = crossings(panel.fine);
        const [middle, gone] = [at(panel, panel.x.indexOf(0), panel.y.indexOf(0)), panel.values.length - panel.known.length];
        const range = panel.known.length ? `from ${number(Math.min(...panel.known))} to ${number(Math.max(...panel.known))}` : "nothing to draw";
        const inside = [range, ...(middle === undefined ? [] : [`${said(middle)} at 0, 0`]), state.scale === "log" ? "logarithmic" : "linear", ...cutting()];
        const about = `${metric.label}, ${panel.name}: ${inside.join(", ")}`;
        panel.surface.setAttribute("aria-label", `Surface of ${about}. Arrow keys turn it, 0 turns it back.`);
        panel.map.setAttribute("aria-label", `Map of ${about}. Arrow keys walk over it.`);
        const why = state.scale === "log" ? "not finite, or not above 0" : "not finite";
        panel.missing.textContent = gone ? `${gone} of ${panel.values.length} values have no place here (${why}): a hole in the surface, × on the map.` : "";
      }
      colourBar(metric);
      tables.replaceChildren(...panels.map((panel) => table(panel, metric)));
      if (state.at && panels.some((panel) => at(panel, ...state.at) !== undefined)) look(...state.at);
      else { state.at = null; readout.textContent = HELP; }
      paint();
    }

    const at = (panel, i, j) => (panel.x[i] === undefined || panel.y[j] === undefined ? undefined : panel.values[j * panel.x.length + i]);
    const cutting = () => (state.cut ? [`cut at ${number(Number(state.cut))}`] : []);
    const said = (v) => (v === null ? "no finite value" : number(v));

    // Values between those measured: a monotone cubic, which has no hill or dale that was not measured.
    function finer(v) {
      const rise = v.slice(1).map((next, i) => next - v[i]);
      const slope = v.map((_, i) => {
        const [a, b] = [rise[i - 1], rise[i]].map((r) => (r === undefined ? NaN : r));
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) ? b : a;
        return a * b > 0 ? 2 * a * b / (a + b) : 0;
      });
      return Array.from({ length: (v.length - 1) * FINE + 1 }, (_, k) => {
        const [i, t] = [Math.floor(k / FINE), k % FINE / FINE];
        if (t === 0) return v[i];
        return v[i] + t * t * (3 - 2 * t) * rise[i] + t * (1 - t) ** 2 * slope[i] - t * t * (1 - t) * slope[i + 1];
      });
    }

    const across = (rows) => rows[0].map((_, i) => rows.map((row) => row[i]));

    // Powers of ten and three times them while these are few; round numbers on a linear scale.
    function contours() {
      if (state.scale === "linear") return round(low, high, 10).filter((v) => v > low && v < high);
      const tens = Math.ceil((high - low) / 12), found = [];
      for (let e = Math.floor(low); e <= high; e++) if (e % tens === 0) found.push(e, ...(high - low < 5 ? [e + Math.log10(3)] : []));
      return found.filter((t) => t > low && t < high);
    }

    // Where contours cross each square: [i, j, i, j, level], in places of the fine grid.
    function crossings(fine) {
      return fine.slice(1).map((_, j) => fine[0].slice(1).map((_, i) => {
        const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
        const t = corners.map(([a, b]) => fine[b][a]);
        if (t.some(Number.isNaN)) return [];
        return levels.flatMap((level) => {
          const ends = corners.flatMap(([a, b], k) => {
            const [c, d] = corners[(k + 1) % 4], [from, next] = [t[k], t[(k + 1) % 4]];
            const part = (level - from) / (next - from);
            return from < level === next < level ? [] : [a + part * (c - a), b + part * (d - b)];
          });
          return ends.length === 8 ? [[...ends.slice(0, 4), level], [...ends.slice(4), level]] : ends.length ? [[...ends, level]] : [];
        });
      }));
    }

    function shade(t, light = 1) {
      const where = Math.min(Math.max((t - low) / (high - low), 0), 1) * (COLOURS.length - 1);
      const i = Math.min(Math.floor(where), COLOURS.length - 2), part = where - i;
      return COLOURS[i].map((c, k) => Math.round(light * (c + part * (COLOURS[i + 1][k] - c))));
    }

    const contourColour = (level) => (level > (low + high) / 2 ? "rgb(255 255 255 / .75)" : "rgb(0 0 0 / .75)");
    const untransformed = (t) => (state.scale === "log" ? 10 ** t : t);

    // A power of ten as such where its zeros would be many.
    function short(t) {
      const power = Math.round(t);
      if (state.scale === "linear" || Math.abs(t - power) > 1e-9 || Math.abs(power) < 4) return number(Number(untransformed(t).toPrecision(3)));
      return `10${[...String(power)].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("")}`;
    }

    // On paper ---------------------------------------------------------------------------------------------------

    function sheet(canvas, ratio) {
      const [width, sharp] = [Math.max(canvas.clientWidth, 240), window.devicePixelRatio || 1];
      const height = Math.round(width * ratio);
      canvas.width = width * sharp;
      canvas.height = height * sharp;
      const pen = canvas.getContext("2d");
      pen.scale(sharp, sharp);
      pen.font = "13px system-ui, sans-serif";
      pen.lineJoin = "round";
      const style = getComputedStyle(document.documentElement);
      const [ink, quiet, line] = ["--ink", "--quiet", "--line"].map((name) => style.getPropertyValue(name));
      return { pen, width, height, ink, quiet, line };
    }

    let waiting = 0, stale = false;
    function paint(maps = true) {
      stale ||= maps;
      waiting ||= requestAnimationFrame(() => {
        for (const panel of panels) { paintSurface(panel); if (stale) paintMap(panel); }
        waiting = 0;
        stale = false;
      });
    }

    function path(pen, points) {
      pen.beginPath();
      points.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    }

    function stroke(pen, points, style, width) {
      path(pen, points);
      Object.assign(pen, { strokeStyle: style, lineWidth: width });
      pen.stroke();
    }

    // [from, to, style]: as few strokes as there are styles.
    function segments(pen, lines) {
      for (const style of new Set(lines.map((line) => line[2]))) {
        pen.beginPath();
        for (const [from, to] of lines.filter((line) => line[2] === style)) { pen.moveTo(...from); pen.lineTo(...to); }
        Object.assign(pen, { strokeStyle: style, lineWidth: style === MESH ? 0.7 : 1.2 });
        pen.stroke();
      }
    }

    function text(pen, said, x, y, style, align = "center") {
      Object.assign(pen, { fillStyle: style, textAlign: align, textBaseline: "middle" });
      pen.fillText(said, x, y);
    }

    function paintSurface(panel) {
      const { pen, width, height, ink, quiet, line } = sheet(panel.surface, 0.86);
      const { fine, lines: crossed } = panel, [columns, rows] = [fine[0].length - 1, fine.length - 1];
      const [sin, cos, up, flat] = [Math.sin(state.turn), Math.cos(state.turn), Math.cos(state.tilt), Math.sin(state.tilt)];
      const size = width / 3.5;
      const flatTo = (x, y, z) => [
        width / 2 + size * (x * cos - y * sin),
        height * 0.49 - size * ((x * sin + y * cos) * flat + (z - RISE / 2) * up),
      ];
      const project = (i, j, t) => flatTo(2 * i / columns - 1, 2 * j / rows - 1, RISE * (t - low) / (high - low));
      const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]];
      stroke(pen, [...corners, corners[0]].map(([x, y]) => flatTo(x, y, 0)), line, 1);
      const [far, across] = [sin > 0, cos > 0]; // whether a larger x, a larger y is farther away
      // From the back to the front, strip after strip. The lines of a strip follow when the next one has been filled,
      // which would cover half of their width; where the surface is seen from below they would shine through.
      let late = [];
      for (let a = 0; a < columns; a++) {
        const [soon, later] = [[], []];
        for (let b = 0; b < rows; b++) {
          const [i, j] = [far ? columns - 1 - a : a, across ? rows - 1 - b : b];
          const t = [fine[j][i], fine[j][i + 1], fine[j + 1][i + 1], fine[j + 1][i]];
          if (t.some(Number.isNaN)) continue;
          const p = [project(i, j, t[0]), project(i + 1, j, t[1]), project(i + 1, j + 1, t[2]), project(i, j + 1, t[3])];
          // Light from the upper left of the reader.
          const [dx, dy] = [t[1] + t[2] - t[0] - t[3], t[2] + t[3] - t[0] - t[1]].map((d, k) => d * RISE / (high - low) / 4 * [columns, rows][k]);
          const facing = (-dx * (-0.5 * cos + 0.3 * sin) - dy * (0.5 * sin + 0.3 * cos) + 0.8) / Math.hypot(dx, dy, 1) / 0.99;
          const below = (p[2][0] - p[0][0]) * (p[3][1] - p[1][1]) - (p[2][1] - p[0][1]) * (p[3][0] - p[1][0]) > 0;
          const fill = `rgb(${shade((t[0] + t[1] + t[2] + t[3]) / 4, Math.min(1.12, 0.62 + 0.5 * Math.max(0, facing)) * (below ? 0.72 : 1))})`;
          path(pen, p);
          pen.closePath();
          Object.assign(pen, { fillStyle: fill, strokeStyle: fill, lineWidth: 0.8 }); // the stroke hides the seams
          pen.fill();
          pen.stroke();
          const lines = below ? soon : later;
          if (i % FINE === 0) lines.push([p[0], p[3], MESH]);
          if (j % FINE === 0) lines.push([p[0], p[1], MESH]);
          if (i === columns - 1) lines.push([p[1], p[2], MESH]);
          if (j === rows - 1) lines.push([p[3], p[2], MESH]);
          for (const [i0, j0, i1, j1, level] of crossed[j][i]) lines.push([project(i0, j0, level), project(i1, j1, level), contourColour(level)]);
        }
        segments(pen, late);
        segments(pen, soon);
        late = later;
      }
      segments(pen, late);
      const [left] = corners.map(([x, y]) => [x, y, flatTo(x, y, 0)]).sort((a, b) => a[2][0] - b[2][0]);
      stroke(pen, [left[2], flatTo(left[0], left[1], RISE)], quiet, 1);
      let free = Infinity;
      for (const level of levels) {
        const [x, y] = flatTo(left[0], left[1], RISE * (level - low) / (high - low));
        if (free - y < 15) continue;
        free = y;
        stroke(pen, [[x - 4, y], [x, y]], quiet, 1);
        text(pen, short(level), x - 7, y, ink, "right");
      }
      // The places along the two edges of the floor that are nearest.
      const ends = (v) => [[-1, v[0]], [0, (v[0] + v[v.length - 1]) / 2], [1, v[v.length - 1]]];
      for (const [at, v] of ends(panel.x)) text(pen, number(v), ...flatTo(at * 0.93, across ? -1.16 : 1.16, 0), quiet);
      for (const [at, v] of ends(panel.y)) text(pen, number(v), ...flatTo(far ? -1.16 : 1.16, at * 0.93, 0), quiet);
      text(pen, "x", ...flatTo(0.5, across ? -1.16 : 1.16, 0), ink);
      text(pen, "y", ...flatTo(far ? -1.16 : 1.16, 0.5, 0), ink);
      for (const [i, j, look] of [[panel.x.indexOf(0), panel.y.indexOf(0), "cross"], ...(state.at ? [[...state.at, "ring"]] : [])]) {
        const t = fine[j * FINE]?.[i * FINE];
        if (t === undefined || Number.isNaN(t)) continue;
        mark(pen, ...project(i * FINE, j * FINE, t), look, hidden(fine, i * FINE, j * FINE, [-sin, -cos], flat / up, columns, rows));
      }
    }

    // Whether the surface lies between a place on it and the reader.
    function hidden(fine, i, j, [x, y], slope, columns, rows) {
      for (let way = 0.04; way < 3; way += 0.02) {
        const [a, b] = [Math.round(i + way * x * columns / 2), Math.round(j + way * y * rows / 2)];
        const t = fine[b]?.[a];
        if (t === undefined) return false;
        if ((t - fine[j][i]) * RISE / (high - low) > way * slope + 0.02) return true;
      }
      return false;
    }

    function mark(pen, x, y, look, faint = false) {
      pen.globalAlpha = faint ? 0.35 : 1;
      const ring = Array.from({ length: 25 }, (_, k) => [x + 6 * Math.cos(k * Math.PI / 12), y + 6 * Math.sin(k * Math.PI / 12)]);
      const shape = look === "cross" ? [[[x - 6, y], [x + 6, y]], [[x, y - 6], [x, y + 6]]] : [ring];
      for (const [style, thick] of [["#fff", 4.5], ["#000", 2]]) for (const points of shape) stroke(pen, points, style, thick);
      pen.globalAlpha = 1;
    }

    // From places of the fine grid to the map.
    function mapped(panel, width, height) {
      const [columns, rows] = [panel.fine[0].length - 1, panel.fine.length - 1];
      return (i, j) => [
        MARGIN.left + (width - MARGIN.left - MARGIN.right) * i / columns,
        MARGIN.top + (height - MARGIN.top - MARGIN.bottom) * (1 - j / rows),
      ];
    }

    function paintMap(panel) {
      const { pen, width, height, ink, quiet } = sheet(panel.map, 0.82);
      const { fine, lines, x, y } = panel, metric = surfaces[state.metric];
      const spot = mapped(panel, width, height);
      const [columns, rows] = [fine[0].length, fine.length];
      const [[x0, y1], [x1, y0]] = [spot(0, 0), spot(columns - 1, rows - 1)];
      const small = new OffscreenCanvas(columns, rows), picture = new ImageData(columns, rows);
      fine.toReversed().flat().forEach((t, k) => { if (!Number.isNaN(t)) picture.data.set([...shade(t), 255], 4 * k); });
      small.getContext("2d").putImageData(picture, 0, 0);
      const [wide, tall] = [(x1 - x0) / (columns - 1), (y1 - y0) / (rows - 1)]; // of a pixel, whose middle is where the value is
      pen.save();
      pen.beginPath();
      pen.rect(x0, y0, x1 - x0, y1 - y0);
      pen.clip();
      pen.drawImage(small, x0 - wide / 2, y0 - tall / 2, wide * columns, tall * rows);
      segments(pen, lines.flat(2).map(([i0, j0, i1, j1, level]) => [spot(i0, j0), spot(i1, j1), contourColour(level)]));
      pen.restore();
      stroke(pen, [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]], quiet, 1);
      const few = (v) => [0, (v.length - 1) / 4, (v.length - 1) / 2, (v.length - 1) * 3 / 4, v.length - 1].filter(Number.isInteger);
      for (const i of few(x)) text(pen, number(x[i]), spot(i * FINE, 0)[0], y1 + 14, ink);
      for (const j of few(y)) text(pen, number(y[j]), x0 - 6, spot(0, j * FINE)[1], ink, "right");
      text(pen, `x: ${metric.x}`, (x0 + x1) / 2, y1 + 34, ink);
      pen.save();
      pen.translate(11, (y0 + y1) / 2);
      pen.rotate(-Math.PI / 2);
      text(pen, `y: ${metric.y}`, 0, 0, ink);
      pen.restore();
      panel.values.forEach((v, k) => {
        if (!Number.isNaN(to(v))) return;
        const [a, b] = spot(k % x.length * FINE, Math.floor(k / x.length) * FINE);
        for (const side of [-1, 1]) stroke(pen, [[a - 4, b - 4 * side], [a + 4, b + 4 * side]], ink, 1.5);
      });
      if (x.includes(0) && y.includes(0)) mark(pen, ...spot(x.indexOf(0) * FINE, y.indexOf(0) * FINE), "cross");
      if (state.at && at(panel, ...state.at) !== undefined) mark(pen, ...spot(state.at[0] * FINE, state.at[1] * FINE), "ring");
    }

    function colourBar(metric) {
      const share = (t) => 100 * (t - low) / (high - low);
      const parts = Array.from({ length: 100 }, (_, k) => element("rect", { x: k, y: 0, width: 1.1, height: 14, fill: `rgb(${shade(low + (k + 0.5) / 100 * (high - low))})` }));
      const lines = levels.map((level) => element("line", { x1: share(level), x2: share(level), y1: 0, y2: 14, stroke: contourColour(level) }));
      let free = -Infinity;
      const marks = levels.filter((level) => (share(level) - free > 9 && share(level) > 2 && share(level) < 98 ? (free = share(level), true) : false));
      bar.replaceChildren(
        element("p", { class: "quiet" }, `${[metric.label, ...cutting()].join(", ")}; contours at ${levels.map(short).join(", ")}`),
        element("svg", { viewBox: "0 0 100 14", preserveAspectRatio: "none", "aria-hidden": "true" }, ...parts, ...lines),
        element("div", { "aria-hidden": "true" }, ...marks.map((level) => element("span", { style: `left: ${share(level)}%` }, short(level)))),
      );
    }

    function table(panel, metric) {
      const [wide, heading] = [panel.x.length, (v) => element("th", { scope: "col" }, number(v))];
      const rows = panel.y.map((v, j) => element("tr", {}, element("th", { scope: "row" }, number(v)), ...panel.values.slice(j * wide, (j + 1) * wide).map((t) => element("td", {}, number(t)))));
      return element("div", {},
        element("p", { class: "quiet" }, `${metric.label}, ${panel.name}: a row for each y, a column for each x.`),
        element("div", { class: "wide", role: "region", "aria-label": `Values of ${panel.name}`, tabindex: 0 }, element("table", {},
          element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "y \\ x"), ...panel.x.map(heading))), element("tbody", {}, ...rows.reverse()))));
    }

    // By hand ----------------------------------------------------------------------------------------------------

    function turn(left, higher) {
      state.turn += left;
      state.tilt = Math.min(Math.max(state.tilt + higher, 0.1), 1.5);
      paint(false);
    }

    function back() {
      Object.assign(state, START);
      paint(false);
    }

    function keys(canvas, actions) {
      canvas.addEventListener("keydown", (event) => {
        const action = actions[event.key];
        if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        action();
      });
    }

    function turned(canvas) {
      let from = null;
      canvas.addEventListener("pointerdown", (event) => {
        if (event.button === 0) { from = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); }
      });
      canvas.addEventListener("pointermove", (event) => {
        if (!from) return;
        turn((event.clientX - from[0]) / 120, (event.clientY - from[1]) / 160);
        from = [event.clientX, event.clientY];
      });
      for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { from = null; });
      keys(canvas, {
        ArrowLeft: () => turn(-0.1, 0), ArrowRight: () => turn(0.1, 0), ArrowUp: () => turn(0, -0.1), ArrowDown: () => turn(0, 0.1), 0: back,
      });
    }

    function look(i, j) {
      state.at = [i, j];
      const lead = panels.find((panel) => at(panel, i, j) !== undefined);
      readout.textContent = `At x ${number(lead.x[i])}, y ${number(lead.y[j])}: ${panels.map((panel) => `${panel.name}: ${said(at(panel, i, j) ?? null)}`).join("; ")}`;
      paint();
    }

    function walked(panel) {
      const near = (event) => {
        const box = panel.map.getBoundingClientRect();
        const spot = mapped(panel, box.width, box.height), [[x0, y1], [x1, y0]] = [spot(0, 0), spot(panel.fine[0].length - 1, panel.fine.length - 1)];
        const place = (part, v) => Math.min(Math.max(Math.round(part * (v.length - 1)), 0), v.length - 1);
        const found = [place((event.clientX - box.left - x0) / (x1 - x0), panel.x), place(1 - (event.clientY - box.top - y0) / (y1 - y0), panel.y)];
        if (String(found) !== String(state.at)) look(...found);
      };
      for (const kind of ["pointerdown", "pointermove"]) panel.map.addEventListener(kind, near);
      const step = (i, j) => () => {
        const from = state.at || [(panel.x.length - 1) >> 1, (panel.y.length - 1) >> 1];
        look(Math.min(Math.max(from[0] + i, 0), panel.x.length - 1), Math.min(Math.max(from[1] + j, 0), panel.y.length - 1));
      };
      keys(panel.map, { ArrowLeft: step(-1, 0), ArrowRight: step(1, 0), ArrowUp: step(0, 1), ArrowDown: step(0, -1) });
    }

    const button = (words, action) => element("button", { type: "button", onclick: action }, words);
    place.replaceChildren(
      controls, bar, element("div", { class: "pair" }, ...panels.map((panel) => panel.place)), readout,
      element("div", { class: "controls" }, button("Turn left", () => turn(-0.2, 0)), button("Turn right", () => turn(0.2, 0)),
        button("From higher up", () => turn(0, 0.15)), button("From lower down", () => turn(0, -0.15)), button("Turn back", back)),
      element("details", {}, element("summary", {}, "The same as tables"), tables),
    );
    choose();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => paint());
    new ResizeObserver(() => paint()).observe(place);
  }
})();
