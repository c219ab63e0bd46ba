// The chart: which points it shows, its scales, its frontiers, and its Vega-Lite specification.

const chart = {
  HEIGHT: 430,
  MOST_INTERVALS: 30, // points up to which all intervals are drawn

  // --- points and frontiers ---------------------------------------------------------------------

  // Runs of a method that no other run of it beats in both quantities, from left to right.
  // signs: 1 if more is better, -1 if less is. points: {x, y}.
  frontier(points, signX, signY) {
    const gain = (p) => [p.x * signX, p.y * signY];
    const beats = (a, b) => {
      const [ax, ay] = gain(a), [bx, by] = gain(b);
      return ax >= bx && ay >= by && (ax > bx || ay > by);
    };
    return points.filter((p) => !points.some((other) => beats(other, p))).sort((a, b) => a.x - b.x);
  },

  // One row of the chart for a point; null if it lacks one of the quantities.
  row(point, x, y) {
    const [a, b] = [point.values[x.key], point.values[y.key]];
    if (!a || !b) return null;
    return {id: point.id, label: point.label, point, x: a[0], y: b[0],
      xLow: a[1] ?? a[0], xHigh: a[2] ?? a[0], yLow: b[1] ?? b[0], yHigh: b[2] ?? b[0]};
  },

  // Lines of each method in each model and domain: a thin one through all learning rates, and a bold
  // one through its frontier, unless neither more nor less of a quantity is better.
  // isThin: label -> whether its thin line is drawn.
  lines(rows, x, y, looks, isThin) {
    const groups = Map.groupBy(rows.filter((r) => r.point.method !== "base"),
      (r) => [r.point.model, r.point.domain, r.label, r.point.seed].join("\n"));
    return [...groups].flatMap(([key, group]) => {
      const look = looks.methods[group[0].label];
      const line = (name, points, width, opacity) => points.map((r, order) =>
        ({key: `${name}\n${key}`, order, x: r.x, y: r.y, color: look.css, dash: look.dash, width, opacity}));
      const byRate = [...group].sort((a, b) => a.point.rate - b.point.rate);
      const best = x.better && y.better ? chart.frontier(group, x.better, y.better) : [];
      return [...(isThin(group[0].label) || !best.length ? line("rates", byRate, 1.1, 0.45) : []), ...line("frontier", best, 2.8, 0.9)];
    });
  },

  // --- scales -----------------------------------------------------------------------------------

  // Scale of an axis from the numbers on it. A logarithmic axis with numbers ≤ 0 is linear near 0.
  scale(numbers, log) {
    const found = numbers.filter(Number.isFinite);
    let [least, most] = [Math.min(...found), Math.max(...found)];
    if (!found.length) return {type: "linear", domain: [0, 1], values: null};
    if (least === most) [least, most] = [least - Math.abs(least) * 0.1 - 1e-9, most + Math.abs(most) * 0.1 + 1e-9];
    if (!log) {
      const room = 0.06 * (most - least);
      return {type: "linear", domain: [least - room, most + room], values: null};
    }
    if (least > 0) {
      const room = (most / least) ** 0.06;
      return {type: "log", domain: [least / room, most * room], values: chart.decades(least / room, most * room)};
    }
    const sizes = found.map(Math.abs).filter((v) => v > 0).sort((a, b) => a - b);
    const constant = Math.max(sizes[Math.floor(sizes.length / 4)] / 3, most / 1e5);
    const bend = (v) => Math.sign(v) * Math.log1p(Math.abs(v) / constant);
    const unbend = (v) => Math.sign(v) * constant * Math.expm1(Math.abs(v));
    const room = 0.06 * (bend(most) - bend(least));
    const domain = [unbend(bend(least) - room), unbend(bend(most) + room)];
    const [low, high] = domain;
    const up = chart.decades(constant, high), down = chart.decades(constant, -low).map((v) => -v);
    return {type: "symlog", constant, domain, values: [...down, 0, ...up]};
  },

  // Round numbers between two positive bounds: 1, 2 and 5 times powers of ten, if there are few.
  decades(low, high) {
    if (!(high > low && low > 0)) return [];
    const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
    const steps = last - first <= 2 ? [1, 2, 5] : last - first <= 4 ? [1, 3] : [1];
    const found = [];
    for (let power = first; power <= last; power++) {
      for (const step of steps) {
        const value = Number(`${step}e${power}`);
        if (value >= low && value <= high) found.push(value);
      }
    }
    return found;
  },

  // --- specification ----------------------------------------------------------------------------

  // isNarrow: the title takes two lines.
  axis(quantity, scale, isNarrow, horizontal) {
    const unit = quantity.unit ? ` (${quantity.unit})` : "";
    const way = {"1": horizontal ? "  better →" : "  better ↑", "-1": horizontal ? "  ← better" : "  ↓ better", "0": ""};
    const title = [quantity.name, `${unit}${way[quantity.better]}`];
    return {
      title: isNarrow ? title.map((line) => line.trim()) : title.join(""),
      ...(scale.values ? {values: scale.values} : {tickCount: 6}),
      labelExpr: quantity.key === "rate" ? "replace(format(datum.value, '~e'), '−', '-')" : "format(datum.value, '~g')",
      labelOverlap: "greedy",
      labelFlush: false,
    };
  },

  specification(x, y, scales, width) {
    const scaled = ({type, domain, constant}) => ({type, domain, nice: false, ...(type === "linear" ? {zero: false} : {}), ...(constant ? {constant} : {})});
    const position = {
      x: {field: "x", type: "quantitative", scale: scaled(scales.x), axis: chart.axis(x, scales.x, width < 500, true)},
      y: {field: "y", type: "quantitative", scale: scaled(scales.y), axis: chart.axis(y, scales.y, width < 500, false)},
    };
    const raw = (field) => ({field, type: "nominal", scale: null});
    const number = (field) => ({field, type: "quantitative", scale: null});
    const named = (name) => ({data: {name}});
    const quiet = {aria: false, clip: true};
    return {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json",
      width, height: chart.HEIGHT, autosize: {type: "fit", contains: "padding"},
      background: null, padding: {left: 2, right: 14, top: 8, bottom: 2},
      datasets: {beyond: [], lines: [], intervals: [], points: [], marked: [], named: []},
      layer: [
        {...named("beyond"), mark: {type: "rect", color: "var(--beyond)", opacity: 0.13, ...quiet},
          encoding: {x: position.x, x2: {field: "x2"}, y: position.y, y2: {field: "y2"}}},
        {...named("beyond"), mark: {type: "rule", color: "var(--beyond)", strokeDash: [4, 3], strokeWidth: 1.5, ...quiet},
          encoding: {x: {field: "xEdge", type: "quantitative"}, x2: {field: "xEdge2"}, y: {field: "yEdge", type: "quantitative"}, y2: {field: "yEdge2"}}},
        {...named("lines"), mark: {type: "line", ...quiet},
          encoding: {x: position.x, y: position.y, detail: {field: "key", type: "nominal"}, order: {field: "order", type: "quantitative"},
            stroke: raw("color"), strokeDash: raw("dash"), strokeWidth: number("width"), opacity: number("opacity")}},
        {...named("intervals"), mark: {type: "rule", ...quiet},
          encoding: {x: {field: "xLow", type: "quantitative"}, x2: {field: "xHigh"}, y: position.y, stroke: raw("color"), opacity: number("opacity"), strokeWidth: number("width")}},
        {...named("intervals"), mark: {type: "rule", ...quiet},
          encoding: {x: position.x, y: {field: "yLow", type: "quantitative"}, y2: {field: "yHigh"}, stroke: raw("color"), opacity: number("opacity"), strokeWidth: number("width")}},
        {...named("points"), mark: {type: "point", strokeWidth: 2, opacity: 1, clip: true},
          encoding: {x: position.x, y: position.y, shape: raw("path"), size: number("size"), fill: raw("fill"), stroke: raw("color"), description: {field: "said", type: "nominal"}}},
        {...named("marked"), mark: {type: "point", shape: "circle", filled: false, strokeWidth: 2.5, opacity: 1, ...quiet},
          encoding: {x: position.x, y: position.y, size: number("size"), stroke: raw("color"), strokeDash: raw("dash")}},
        {...named("named"), mark: {type: "text", dy: -20, fontWeight: 650, fontSize: 12.5, fill: "var(--ink)", align: {expr: "datum.align"}, aria: false},
          encoding: {x: position.x, y: position.y, text: {field: "text", type: "nominal"}}},
      ],
      config: {
        font: "inherit",
        view: {stroke: null},
        axis: {gridColor: "var(--grid)", domainColor: "var(--beyond)", tickColor: "var(--beyond)", labelColor: "var(--muted)",
          titleColor: "var(--ink)", titleFontWeight: 550, titleFontSize: 13, labelFontSize: 12, titlePadding: 8},
      },
    };
  },

  // A rectangle beyond each tolerance that belongs to an axis, with its edge.
  beyond(x, y, scales, allowed) {
    const found = [];
    const [left, right] = scales.x.domain, [bottom, top] = scales.y.domain;
    const limit = (quantity) => (quantity.measure in allowed ? allowed[quantity.measure] : null);
    const atX = limit(x), atY = limit(y);
    if (atX !== null && atX < right) {
      const edge = Math.max(atX, left);
      found.push({x: edge, x2: right, y: bottom, y2: top, xEdge: edge, xEdge2: edge, yEdge: bottom, yEdge2: top});
    }
    if (atY !== null && atY < top) {
      const edge = Math.max(atY, bottom);
      found.push({x: left, x2: right, y: edge, y2: top, xEdge: left, xEdge2: right, yEdge: edge, yEdge2: edge});
    }
    return found;
  },
};
