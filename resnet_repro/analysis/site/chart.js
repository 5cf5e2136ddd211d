// Lines over one axis: to be hovered, touched, walked along by keyboard, and zoomed.
"use strict";

site.chart = (() => {
  const { element, number, round } = site;
  const MARGIN = { left: 58, right: 24, top: 14, bottom: 48 };

  // What an axis is drawn on: x -> position; a value that has no place is left out (the logarithm of 0).
  const SCALES = {
    linear: { to: (v) => v, from: (t) => t },
    sqrt: { to: (v) => (v < 0 ? NaN : Math.sqrt(v)), from: (t) => Math.max(t, 0) ** 2 },
    log: { to: (v) => (v > 0 ? Math.log10(v) : NaN), from: (t) => 10 ** t },
  };

  function ticks(low, high, scale) {
    const { to, from } = SCALES[scale];
    if (scale === "log" && high - low > 1.2) {
      const every = Math.ceil((high - low) / 8);
      const first = Math.ceil(low / every) * every;
      return Array.from({ length: Math.max(0, Math.floor((high - first) / every) + 1) }, (_, i) => 10 ** (first + i * every));
    }
    const found = scale === "linear" ? round(low, high, 6) : round(from(low), from(high), scale === "sqrt" ? 8 : 5);
    if (scale === "sqrt" && low <= 0.01 * high) found.splice(1, 0, ...round(0, found[1] || from(high), 4).slice(1, -1));
    return found.filter((v, i) => i === 0 || Math.abs(to(v) - to(found[i - 1])) > (high - low) / 25);
  }

  // Draws into `place`. lines: {name, colour, dash, kind: "run" | "median", x: [...], y: [...]}.
  // The readout says what is under the pointer; it is a live region, so a screen reader says it, too.
  return function chart(place, { lines, x, y, scale, about }) {
    const xScale = "linear";
    const WIDTH = Math.max(300, place.clientWidth - 10); // as wide as there is room, with text of one size
    const HEIGHT = Math.min(460, Math.max(300, WIDTH / 2));
    const readout = element("output", { class: "readout", "aria-live": "polite" }, HELP);
    const svg = element("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: 0, role: "application", "aria-roledescription": "chart",
      "aria-label": `${about}. Arrow keys walk along the lines, + and − zoom, 0 shows the whole.`,
    });
    // What is under the pointer is drawn on a sheet of its own: thousands of lines are not drawn again for it.
    const over = element("svg", { class: "over", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
    const inner = { width: WIDTH - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
    const whole = bounds();
    let view = { ...whole };
    let near = null; // [line, point]

    function bounds() {
      const found = { x0: Infinity, x1: -Infinity, y0: Infinity, y1: -Infinity };
      for (const line of lines) {
        for (let i = 0; i < line.x.length; i++) {
          const t = line.y[i] === null ? NaN : SCALES[scale].to(line.y[i]);
          if (Number.isNaN(t)) continue;
          found.x0 = Math.min(found.x0, line.x[i]); found.x1 = Math.max(found.x1, line.x[i]);
          found.y0 = Math.min(found.y0, t); found.y1 = Math.max(found.y1, t);
        }
      }
      if (found.x0 === Infinity) return { x0: 0, x1: 1, y0: 0, y1: 1 };
      const margin = 0.04 * (found.y1 - found.y0) || 0.5;
      found.y0 = scale === "sqrt" ? Math.max(0, found.y0 - margin) : found.y0 - margin;
      if (scale !== "log" && found.y0 > 0 && found.y0 < 0.3 * found.y1) found.y0 = 0;
      if (found.x0 === found.x1) { found.x0 -= 1; found.x1 += 1; }
      return { ...found, y1: found.y1 + margin };
    }

    const across = (v) => MARGIN.left + inner.width * (SCALES[xScale].to(v) - view.x0) / (view.x1 - view.x0);
    const up = (v) => MARGIN.top + inner.height * (1 - (SCALES[scale].to(v) - view.y0) / (view.y1 - view.y0));

    function draw() {
      const parts = [];
      for (const v of ticks(view.y0, view.y1, scale)) {
        if (up(v) < MARGIN.top - 1 || up(v) > HEIGHT - MARGIN.bottom + 1) continue;
        parts.push(element("line", { class: "grid", x1: MARGIN.left, x2: WIDTH - MARGIN.right, y1: up(v), y2: up(v) }));
        parts.push(element("text", { x: MARGIN.left - 7, y: up(v) + 5, "text-anchor": "end" }, number(v)));
      }
      for (const v of ticks(view.x0, view.x1, xScale).filter((_, i, all) => all.length * 60 < inner.width || i % 2)) {
        parts.push(element("line", { class: "axis", x1: across(v), x2: across(v), y1: HEIGHT - MARGIN.bottom, y2: HEIGHT - MARGIN.bottom + 5 }));
        parts.push(element("text", { x: across(v), y: HEIGHT - MARGIN.bottom + 22, "text-anchor": "middle" }, number(v)));
      }
      parts.push(element("line", { class: "axis", x1: MARGIN.left, x2: WIDTH - MARGIN.right, y1: HEIGHT - MARGIN.bottom, y2: HEIGHT - MARGIN.bottom }));
      parts.push(element("text", { x: MARGIN.left + inner.width / 2, y: HEIGHT - 8, "text-anchor": "middle" }, x));
      const clip = clipped();
      for (const line of lines) {
        clip.append(element("path", { class: line.kind, stroke: line.colour, "stroke-dasharray": line.dash || null, d: path(line) }));
      }
      svg.replaceChildren(...parts, clip);
      over.replaceChildren();
      if (near) show(...near);
    }

    const clipped = (...parts) => element("svg", {
      x: MARGIN.left, y: MARGIN.top, width: inner.width, height: inner.height,
      viewBox: `${MARGIN.left} ${MARGIN.top} ${inner.width} ${inner.height}`,
    }, ...parts);

    function path(line) {
      let text = "", pen = "M";
      for (let i = 0; i < line.x.length; i++) {
        const top = line.y[i] === null ? NaN : up(line.y[i]);
        if (Number.isNaN(top)) { pen = "M"; continue; }
        text += `${pen}${across(line.x[i]).toFixed(1)} ${top.toFixed(1)}`;
        pen = "L";
      }
      return text;
    }

    function show(line, i) {
      near = [line, i];
      over.replaceChildren(clipped(
        element("path", { class: "near", stroke: line.colour, "stroke-dasharray": line.dash || null, d: path(line) }),
        element("circle", { class: "mark", r: 5, cx: across(line.x[i]), cy: up(line.y[i]), fill: line.colour }),
      ));
      readout.textContent = `${line.name}: ${number(line.y[i])} at ${x} ${number(line.x[i])}`;
    }

    function position(event) {
      const box = svg.getBoundingClientRect();
      return [(event.clientX - box.left) * WIDTH / box.width, (event.clientY - box.top) * HEIGHT / box.height];
    }

    function nearest(left, top) {
      let best = null, least = Infinity;
      for (const line of lines) {
        for (let i = 0; i < line.x.length; i++) {
          if (line.y[i] === null) continue;
          const distance = (across(line.x[i]) - left) ** 2 + (up(line.y[i]) - top) ** 2;
          if (distance < least) { least = distance; best = [line, i]; }
        }
      }
      return best;
    }

    function zoom(next) {
      if (!(next.x1 - next.x0 > 1e-9 && next.y1 - next.y0 > 1e-9)) return;
      view = next;
      draw();
    }

    function scaled(factor) {
      const middle = near ? [near[0].x[near[1]], SCALES[scale].to(near[0].y[near[1]])] : [(view.x0 + view.x1) / 2, (view.y0 + view.y1) / 2];
      const [width, height] = [(view.x1 - view.x0) * factor / 2, (view.y1 - view.y0) * factor / 2];
      if (width * 2 >= whole.x1 - whole.x0) return zoom({ ...whole });
      zoom({ x0: middle[0] - width, x1: middle[0] + width, y0: middle[1] - height, y1: middle[1] + height });
    }

    let start = null, box = null;
    svg.addEventListener("pointermove", (event) => {
      const [left, top] = position(event);
      if (start) {
        box ??= over.appendChild(element("rect", { class: "drag" }));
        const sides = { x: Math.min(left, start[0]), y: Math.min(top, start[1]), width: Math.abs(left - start[0]), height: Math.abs(top - start[1]) };
        for (const [key, v] of Object.entries(sides)) box.setAttribute(key, v);
        return;
      }
      const found = nearest(left, top);
      if (found && (!near || found[0] !== near[0] || found[1] !== near[1])) show(...found);
    });
    svg.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && event.button === 0) { start = position(event); svg.setPointerCapture(event.pointerId); }
      else { const found = nearest(...position(event)); if (found) show(...found); }
    });
    svg.addEventListener("pointerup", (event) => {
      if (!start) return;
      const [from, to] = [start, position(event)];
      start = null;
      box?.remove();
      box = null;
      if (Math.abs(to[0] - from[0]) < 12 || Math.abs(to[1] - from[1]) < 12) return;
      const at = (left) => view.x0 + (left - MARGIN.left) / inner.width * (view.x1 - view.x0);
      const height = (top) => view.y1 - (top - MARGIN.top) / inner.height * (view.y1 - view.y0);
      const [xs, ys] = [[at(from[0]), at(to[0])].sort((a, b) => a - b), [height(from[1]), height(to[1])].sort((a, b) => a - b)];
      zoom({ x0: xs[0], x1: xs[1], y0: ys[0], y1: ys[1] });
    });
    svg.addEventListener("dblclick", () => zoom({ ...whole }));
    svg.addEventListener("keydown", (event) => {
      const action = {
        "+": () => scaled(0.5), "=": () => scaled(0.5), "-": () => scaled(2), 0: () => zoom({ ...whole }),
        ArrowRight: () => walk(0, 1), ArrowLeft: () => walk(0, -1), ArrowDown: () => walk(1, 0), ArrowUp: () => walk(-1, 0),
      }[event.key];
      if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      action();
    });

    function walk(lineStep, pointStep) {
      const shown = lines.filter((line) => line.y.some((v) => v !== null));
      if (!shown.length) return;
      let [line, i] = near || [shown[0], -1];
      if (lineStep) line = shown[(shown.indexOf(line) + lineStep + shown.length) % shown.length];
      i = Math.min(Math.max(i + pointStep, 0), line.x.length - 1);
      while (i > 0 && line.y[i] === null) i--;
      if (line.y[i] !== null) show(line, i);
    }

    const button = (words, action) => element("button", { type: "button", onclick: action }, words);
    place.replaceChildren(
      element("p", { class: "quiet" }, y),
      element("div", { class: "chart" }, svg, over),
      readout,
      element("div", { class: "controls" }, button("Zoom in", () => scaled(0.5)), button("Zoom out", () => scaled(2)), button("Show the whole", () => zoom({ ...whole }))),
    );
    draw();
  };
})();

const HELP = "Point at a line, or walk along the lines with the arrow keys. Drag over a part, or press + and −, to zoom; 0 shows the whole.";
