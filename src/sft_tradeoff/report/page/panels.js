// What stands around the chart. All text of the study enters as text nodes, never as HTML.

function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function swatch(look, path) {
  const make = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const svg = make("svg", {width: look ? 34 : 14, height: 14, viewBox: look ? "-17 -7 34 14" : "-7 -7 14 14", "aria-hidden": "true"});
  if (look) svg.append(make("line", {x1: -17, x2: 17, y1: 0, y2: 0, stroke: look.css, "stroke-width": 2.4, "stroke-dasharray": look.dash.join(" ")}));
  svg.append(make("path", {d: path, transform: "scale(5)", fill: look ? look.css : "var(--muted)"}));
  return svg;
}

const text = {
  number(value, unit) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    if (unit === "s") return text.duration(value);
    const digits = {"bits per byte": 4, "fraction correct": 3, fraction: 3, "nats per token": 3}[unit];
    const shown = digits === undefined ? String(Number(value.toPrecision(3))) : value.toFixed(digits);
    return (Number(shown) === 0 ? shown.replace("-", "") : shown).replace("-", "−");
  },
  duration(seconds) {
    if (seconds >= 7200) return `${(seconds / 3600).toFixed(1)} h`;
    return seconds >= 120 ? `${(seconds / 60).toFixed(1)} min` : `${seconds.toFixed(0)} s`;
  },
  interval([value, low, high], unit) {
    const known = low !== null && high !== null;
    return text.number(value, unit) + (known ? ` [${text.number(low, unit)}, ${text.number(high, unit)}]` : "");
  },
  rate(value) {
    return value.toExponential().replace("e-", "e-").replace("e+", "e");
  },
  name(point) {
    if (point.method === "base") return "θ₀";
    return `${point.label} at ${point.rateText}${point.seed === null ? "" : `, seed ${point.seed}`}`;
  },
  // A tolerance as it is shown, rounded upwards so that what is within it stays so.
  up(value) {
    const step = 10 ** (Math.floor(Math.log10(value)) - 2);
    return Number((Math.ceil(value / step - 1e-9) * step).toPrecision(3));
  },
};

const panels = {
  // --- what is recommended ------------------------------------------------------------------------

  // One paragraph per model and domain. found: of rule.recommend; scores: label and rate -> sentence.
  recommendation(section, found, allowed, units, isOnly, scores) {
    const where = isOnly ? null : h("span", {class: "muted"}, `${section.model}, ${section.domain}: `);
    const names = Object.keys(allowed);
    if (!names.length) return h("p", {}, where, "Limit at least one general loss to get a recommendation.");
    if (!found.chosen) {
      return h("p", {}, where, h("strong", {}, "No run is certain to stay within this tolerance."), panels.reachable(section, allowed, units));
    }
    const {method, candidate} = found.chosen;
    const run = section.methods[method].candidates[candidate];
    const losses = names.filter((name) => name in run.losses).map((name) => `${text.interval(run.losses[name], units[name])} ${units[name]}`);
    return h("p", {}, where, h("strong", {}, `Train with ${found.methods[method].label} at learning rate ${text.rate(run.rate)}.`),
      ` General loss: ${losses.join("; ")}. ${scores(found.methods[method].label, run.rate)}`);
  },

  // The smallest tolerance at which the smallest rate of some method is within, if one measure is limited.
  reachable(section, allowed, units) {
    const [name, ...more] = Object.keys(allowed);
    const bounds = section.methods.map((m) => m.candidates[0].losses[name]?.[2]).filter((v) => v !== null && v !== undefined);
    if (more.length || !bounds.length) return "";
    return ` The first one would be from ${text.up(Math.max(0, Math.min(...bounds)))} ${units[name]}.`;
  },

  // Tolerances at which the recommendation changes, in increasing order.
  changes(section, allowed, name) {
    const bounds = section.methods.flatMap((m) => m.candidates.map((c) => c.losses[name]?.[2]));
    const at = [...new Set(bounds.filter((v) => v > 0 && v <= 1).map(text.up))].sort((a, b) => a - b);
    const chosen = (value) => JSON.stringify(rule.recommend(section, {...allowed, [name]: value}).chosen);
    let before = chosen(0);
    return at.filter((value) => {
      const now = chosen(value), isOther = now !== before;
      before = now;
      return isOther;
    });
  },

  // --- one point ------------------------------------------------------------------------------------

  tip(point, axes) {
    const rows = axes.filter((axis) => point.values[axis.key]).map((axis) =>
      h("tr", {}, h("th", {}, axis.name), h("td", {}, text.interval(point.values[axis.key], axis.unit))));
    return [h("strong", {}, text.name(point)), h("span", {class: "muted"}, `${point.model}, ${point.domain}`), h("table", {}, rows)];
  },

  values(point, axes) {
    const rows = axes.filter((axis) => point.values[axis.key] && axis.key !== "rate").map((axis) =>
      h("tr", {}, h("th", {scope: "row"}, axis.name), h("td", {}, `${text.interval(point.values[axis.key], axis.unit)}`), h("td", {class: "muted"}, axis.unit === "s" ? "" : axis.unit)));
    const missing = point.reason ? h("p", {class: "muted"}, `Missing: ${point.reason}`) : null;
    return h("div", {class: "values"}, h("h4", {}, "Scores"), missing, h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Scores"}, h("table", {}, h("tbody", {}, rows))));
  },

  // The items of one run: gained and lost in each benchmark, with both answers.
  // That of the domain comes first.
  items(run, model, domain, changes) {
    const found = changes.runs[run];
    if (!found) return h("div", {}, h("h4", {}, "Answers"), h("p", {class: "muted"}, "The answers of this run are not among the files of this study."));
    const names = Object.keys(found).sort((a, b) => (b === domain) - (a === domain));
    const parts = names.map((name, i) => panels.benchmark(name, found[name], changes.base[`${model}/${name}`] ?? {}, i === 0));
    const empty = names.length ? null : h("p", {class: "muted"}, "No item that only one of the two answers right.");
    const {items, characters} = changes.limits;
    const most = items >= 1000 ? "" : ` At most ${items} of each kind, cut to ${characters} characters: this study has more answers than a page can hold.`;
    return h("div", {}, h("h4", {}, "Items gained and lost against θ₀"), h("p", {class: "help"}, `Answered right by one of the two models only. Prompts are not among the results.${most}`), empty, parts);
  },

  benchmark(name, found, base, open) {
    const {gained, lost} = found;
    const list = h("div", {class: "items"});
    const rows = [["lost", lost], ["gained", gained]].flatMap(([change, part]) =>
      Object.entries(part.items).map(([item, answer]) => () => panels.item(item, change, base[item], answer)));
    const hidden = gained.n + lost.n - rows.length;
    let next = 0;
    const more = h("button", {type: "button", onclick: () => add(20)}, "More");
    function add(n) {
      list.append(...rows.slice(next, next + n).map((make) => make()));
      next += n;
      more.hidden = next >= rows.length;
    }
    add(6);
    const left = hidden ? h("p", {class: "muted"}, `${hidden} further items are left out of this page.`) : null;
    return h("details", {class: "benchmark", open}, h("summary", {}, `${name}: `, h("span", {class: "mark gained"}, `${gained.n} gained`), ", ", h("span", {class: "mark lost"}, `${lost.n} lost`)), list, more, left);
  },

  item(item, change, before, after) {
    const sign = {gained: "+ gained", lost: "− lost"}[change];
    return h("div", {class: "item"}, h("div", {class: "name"}, h("span", {class: `mark ${change}`}, sign), ` ${item}`),
      h("div", {class: "answers"}, panels.answer("θ₀", before, change === "lost"), panels.answer("This run", after, change === "gained")));
  },

  answer(who, answer, right) {
    const heading = h("h5", {}, `${who}: ${right ? "right" : "wrong"}`);
    if (!answer) return h("div", {}, heading);
    if ("chosen" in answer) {
      const nats = answer.nats.map((x, i) => `${i + 1}: ${x.toFixed(1).replace("-", "−")}`).join(", ");
      const said = `chose option ${answer.chosen === null ? "–" : answer.chosen + 1} of ${answer.nats.length}; right is ${answer.gold + 1}`;
      return h("div", {}, heading, h("pre", {}, said), h("div", {class: "found"}, `log-likelihoods in nats: ${nats}`));
    }
    const parsed = answer.parsed === null ? "no answer found in it" : `read as: ${answer.parsed}`;
    return h("div", {}, heading, h("pre", {}, answer.text === "" ? "(nothing)" : answer.text ?? "–"), h("div", {class: "found"}, parsed));
  },
};
