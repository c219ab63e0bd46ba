// The explorer: its state, which the address keeps, its controls, and drawing.

const explorer = (() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const [LEAST, MOST, STEPS] = [-4, 0, 100]; // of the sliders: powers of ten, steps per power
  let study, state, drawn, view, shown = [], scales = null, hovered = null, turn = 0;

  // --- state and address ------------------------------------------------------------------------

  function first(name) {
    study = DATA.studies.find((s) => s.name === name) ?? DATA.studies[0];
    const {model, domain} = study.sections[0];
    return {
      study: study.name, model, domain, target: "", methods: null, rates: null, seed: "mean", run: null,
      x: study.start.x, y: study.start.y, xlog: wantsLog(study.start.x), ylog: wantsLog(study.start.y),
      allowed: {...study.tolerance},
    };
  }

  const axis = (key) => study.axes.find((a) => a.key === key);
  const section = (point) => study.sections.find((s) => s.model === point.model && s.domain === point.domain);
  const labels = () => Object.keys(study.looks.methods);
  const unique = (values) => [...new Set(values)];

  // A logarithmic axis by itself where values spread over more than a factor of 50.
  function wantsLog(key) {
    if (axis(key).log) return true;
    const sizes = study.points.map((p) => Math.abs(p.values[key]?.[0] ?? 0)).filter((v) => v > 0);
    return axis(key).unit !== "fraction correct" && Math.max(...sizes) > 50 * Math.min(...sizes);
  }

  function toAddress() {
    const start = first(state.study), found = new URLSearchParams();
    if (DATA.studies.length > 1) found.set("study", state.study);
    for (const key of ["model", "domain", "target", "seed", "run", "x", "y"]) {
      if (state[key] !== start[key]) found.set(key, state[key] ?? "");
    }
    for (const key of ["methods", "rates"]) if (state[key]) found.set(key, state[key].join(","));
    for (const key of ["xlog", "ylog"]) if (state[key] !== wantsLog(state[key[0]])) found.set(key, Number(state[key]));
    for (const name of Object.keys(study.units)) {
      if (state.allowed[name] !== start.allowed[name]) found.set(name, state.allowed[name] ?? "none");
    }
    return `#${found}`;
  }

  // The state of an address; what it does not name, or names wrongly, is as at the start.
  function fromAddress(hash) {
    const given = new URLSearchParams(hash.slice(1));
    const found = first(given.get("study"));
    const known = {
      model: ["", ...study.points.map((p) => p.model)], domain: ["", ...study.points.map((p) => p.domain)],
      target: ["", ...study.points.map((p) => p.target)], x: study.axes.map((a) => a.key), y: study.axes.map((a) => a.key),
      seed: ["mean", "each", ...study.points.map((p) => String(p.seed))], run: study.points.map((p) => p.id),
    };
    for (const [key, values] of Object.entries(known)) if (values.includes(given.get(key))) found[key] = given.get(key);
    for (const key of ["x", "y"]) found[`${key}log`] = given.has(`${key}log`) ? given.get(`${key}log`) === "1" : wantsLog(found[key]);
    const list = (key, values) => {
      const kept = (given.get(key) ?? "").split(",").filter((v) => values.includes(v));
      return kept.length ? kept : null;
    };
    found.methods = list("methods", labels());
    found.rates = list("rates", study.looks.rates.map((r) => String(r.rate)));
    for (const name of Object.keys(study.units)) {
      const number = Number.parseFloat(given.get(name));
      if (given.get(name) === "none") delete found.allowed[name];
      else if (number >= 0 && number <= 1) found.allowed[name] = number;
    }
    return found;
  }

  function remember() {
    const address = toAddress();
    history.replaceState(null, "", address === "#" ? location.pathname + location.search : address);
    $("link-place").querySelector("a").href = address;
  }

  // --- what is shown ----------------------------------------------------------------------------

  const inPlace = (p) => (!state.model || p.model === state.model) && (!state.domain || p.domain === state.domain)
    && (!state.target || p.target === state.target);

  function isShown(point) {
    if (!inPlace(point)) return false;
    if (point.method === "base") return true;
    const seed = state.seed === "mean" ? point.seed === null : state.seed === "each" ? point.seed !== null : String(point.seed) === state.seed;
    return seed && (!state.methods || state.methods.includes(point.label)) && (!state.rates || state.rates.includes(String(point.rate)));
  }

  const sections = () => study.sections.filter((s) => study.points.some((p) => p.model === s.model && p.domain === s.domain && inPlace(p)));
  const recommended = () => new Map(sections().map((s) => [s, rule.recommend(s, state.allowed)]));

  // Whether a point's learning rate is within the tolerance together with all smaller ones.
  function counts(point, found) {
    const s = section(point), i = s.methods.findIndex((m) => m.label === point.label);
    const largest = found.get(s)?.methods[i]?.largest;
    return largest !== null && largest !== undefined && point.rate <= largest;
  }

  function isChosen(point, found) {
    const s = section(point), chosen = found.get(s)?.chosen;
    return Boolean(chosen) && point.method !== "base" && s.methods[chosen.method].label === point.label
      && s.methods[chosen.method].candidates[chosen.candidate].rate === point.rate;
  }

  // --- drawing ----------------------------------------------------------------------------------

  const path = (rate) => study.looks.rates.find((r) => r.rate === rate)?.path ?? "M-1,0L1,0";
  const STAR = "M0,-1.3L.32,-.44L1.24,-.4L.51,.17L.76,1.05L0,.54L-.76,1.05L-.51,.17L-1.24,-.4L-.32,-.44Z";
  const colorOf = (point) => (point.method === "base" ? "var(--ink)" : study.looks.methods[point.label].css);

  // New scales and a new chart: for other axes, filters or widths.
  async function drawChart() {
    const [x, y] = [axis(state.x), axis(state.y)];
    const rows = study.points.filter(isShown).map((p) => chart.row(p, x, y)).filter(Boolean);
    shown = [...rows].sort((a, b) => a.x - b.x || a.y - b.y);
    const all = rows.length <= chart.MOST_INTERVALS;
    const numbers = (side) => rows.flatMap((r) => (all ? [r[side], r[`${side}Low`], r[`${side}High`]] : [r[side]]));
    const reach = (quantity) => (quantity.measure in state.allowed ? [state.allowed[quantity.measure]] : []);
    // Interval ends at 0 or below would turn a logarithmic axis into another one.
    const usable = (found, log, own) => (log && Math.min(...own) > 0 ? found.filter((v) => v > 0) : found);
    const values = (side) => rows.map((r) => r[side]);
    scales = {
      x: chart.scale(usable([...numbers("x"), ...reach(x)], state.xlog, values("x")), state.xlog),
      y: chart.scale(usable([...numbers("y"), ...reach(y)], state.ylog, values("y")), state.ylog),
    };
    $("chart-title").textContent = `${y.name} over ${x.name}`;
    $("chart").setAttribute("aria-label", `Chart of ${y.name} over ${x.name}`);
    const own = ++turn, specification = chart.specification(x, y, scales, $("chart").clientWidth);
    const made = await vegaEmbed("#chart", specification, {actions: false, renderer: "svg", hover: false, defaultStyle: false, tooltip: false, ast: false});
    if (own !== turn) return made.finalize(); // another one was asked for meanwhile
    drawn?.finalize();
    drawn = made;
    view = made.view;
    for (const name of ["mousemove", "click"]) view.addEventListener(name, (event) => pointed(event, name));
    view.addEventListener("mouseout", () => hover(null));
    drawPoints();
  }

  // What changes with the tolerance and the selection.
  function drawPoints() {
    if (!view) return;
    const [x, y] = [axis(state.x), axis(state.y)], found = recommended();
    const color = (r) => colorOf(r.point);
    const all = shown.length <= chart.MOST_INTERVALS;
    const bars = shown.filter((r) => all || r.id === hovered || r.id === state.run).map((r) => {
      const strong = r.id === hovered || r.id === state.run;
      return {...r, point: null, color: color(r), opacity: strong ? 0.95 : 0.32, width: strong ? 2 : 1.2};
    });
    const points = shown.map((r) => {
      const isBase = r.point.method === "base";
      const within = !isBase && counts(r.point, found);
      return {id: r.id, x: r.x, y: r.y, color: color(r), path: isBase ? STAR : path(r.point.rate), size: isBase ? 190 : 125,
        fill: isBase || within ? color(r) : "var(--bg)",
        said: `${text.name(r.point)}: ${x.name} ${text.number(r.x, x.unit)}, ${y.name} ${text.number(r.y, y.unit)}${within ? ", within the tolerance" : ""}`};
    });
    const marked = shown.flatMap((r) => [
      ...(isChosen(r.point, found) ? [{x: r.x, y: r.y, color: "var(--good)", dash: [1, 0], size: 480}] : []),
      ...(r.id === state.run ? [{x: r.x, y: r.y, color: "var(--ink)", dash: [3, 2], size: 900}] : []),
    ]);
    const right = (r) => view.scale("x")(r.x) > 0.75 * view.width();
    const named = [...shown.filter((r) => r.point.method === "base").map((r) => ({...r, point: null, text: "θ₀", align: "center"})),
      ...(state.seed === "mean" ? shown.filter((r) => isChosen(r.point, found)).map((r) => ({...r, point: null, text: "recommended", align: right(r) ? "right" : "center"})) : [])];
    const pointedAt = shown.filter((r) => r.id === hovered || r.id === state.run).map((r) => r.label);
    const lines = chart.lines(shown, x, y, study.looks, (label) => all || pointedAt.includes(label));
    const put = {beyond: chart.beyond(x, y, scales, state.allowed), lines, intervals: bars, points, marked};
    for (const [name, rows] of Object.entries(put)) view.data(name, rows);
    view.run();
    view.data("named", named).run();
    showAnswer(found);
    showMethods(found);
  }

  // --- pointer and keys -------------------------------------------------------------------------

  function nearest(event, within) {
    const box = $("chart").querySelector("svg").getBoundingClientRect(), [left, top] = view.origin();
    const [sx, sy] = [view.scale("x"), view.scale("y")], padding = view.padding();
    let best = null, least = within;
    for (const row of shown) {
      const distance = Math.hypot(event.clientX - box.left - left - padding.left - sx(row.x), event.clientY - box.top - top - padding.top - sy(row.y));
      if (distance < least) [best, least] = [row, distance];
    }
    return best;
  }

  function pointed(event, name) {
    const row = nearest(event, name === "click" ? 30 : 22);
    if (name === "click" && row && row.point.method !== "base") select(row.id);
    else if (name === "mousemove") hover(row, event);
  }

  function hover(row, event) {
    const tip = $("tip");
    if (!row) tip.hidden = true;
    else {
      const chosen = unique([axis(state.x), axis(state.y), axis("accuracy"), axis("loss_bits"), axis("loss_accuracy"), axis("time")].filter(Boolean));
      tip.replaceChildren(...panels.tip(row.point, chosen));
      tip.hidden = false;
      const stage = tip.parentElement.getBoundingClientRect();
      const left = event.clientX - stage.left + 16, most = stage.width - tip.offsetWidth - 4;
      tip.style.left = `${Math.max(0, left > most ? event.clientX - stage.left - tip.offsetWidth - 16 : left)}px`;
      tip.style.top = `${event.clientY - stage.top + 12}px`;
    }
    if ((row?.id ?? null) === hovered) return;
    hovered = row?.id ?? null;
    drawPoints();
  }

  function select(id) {
    state.run = id;
    drawPoints();
    showDetails();
    remember();
  }

  function key(event) {
    const runs = shown.filter((r) => r.point.method !== "base");
    const step = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1}[event.key];
    if (event.key === "Escape") select(null);
    else if (step && runs.length) {
      event.preventDefault();
      const at = runs.findIndex((r) => r.id === state.run);
      const next = runs[(at < 0 ? (step > 0 ? 0 : runs.length - 1) : at + step + runs.length) % runs.length];
      select(next.id);
      const said = [axis(state.y), axis(state.x)].map((a) => `${a.name} ${text.interval(next.point.values[a.key], a.unit)}`).join(", ");
      $("said").textContent = `${text.name(next.point)}: ${said}`;
    }
  }

  // --- panels -----------------------------------------------------------------------------------

  function showAnswer(found) {
    const one = found.size === 1;
    $("answer").replaceChildren(...[...found].map(([s, result]) => panels.recommendation(s, result, state.allowed, study.units, one, (...run) => scores(s, ...run))));
  }

  // Domain scores of a setting beside those of θ0, as a sentence.
  function scores(s, label, rate) {
    const here = study.points.filter((p) => p.model === s.model && p.domain === s.domain && p.seed === null);
    const run = here.find((p) => p.label === label && p.rate === rate), base = here.find((p) => p.method === "base");
    const told = ["accuracy", "nll"].map(axis).filter((a) => a && run?.values[a.key]).map((a) => {
      const before = base?.values[a.key] ? ` (θ₀: ${text.number(base.values[a.key][0], a.unit)})` : "";
      return `${a.name} ${text.interval(run.values[a.key], a.unit)}${before}`;
    });
    return told.length ? `${told.join("; ")}.` : "";
  }

  function showMethods(found) {
    const [s, result] = [...found][0] ?? [];
    for (const row of document.querySelectorAll("[data-method]")) {
      const i = s?.methods.findIndex((m) => m.label === row.dataset.method) ?? -1;
      const told = found.size === 1 && i >= 0 && Object.keys(state.allowed).length;
      const {largest} = told ? result.methods[i] : {};
      row.querySelector(".within").textContent = !told ? "" : largest === null ? "none within" : `within up to ${text.rate(largest)}`;
      row.classList.toggle("chosen", Boolean(told && result.chosen?.method === i));
    }
  }

  function showDetails() {
    const point = study.points.find((p) => p.id === state.run);
    if (!point) return $("details").replaceChildren();
    const place = h("div");
    const show = (run) => place.replaceChildren(panels.items(run, point.model, point.domain, study.changes));
    const seeds = point.runs.length < 2 ? [] : point.runs.map((run, i) => h("button", {
      type: "button", "aria-pressed": String(i === 0),
      onclick: (event) => {
        for (const button of event.target.parentElement.children) button.setAttribute("aria-pressed", String(button === event.target));
        show(run);
      },
    }, `seed ${study.points.find((p) => p.id === run)?.seed ?? i}`));
    show(point.runs[0]);
    const close = h("button", {type: "button", class: "close", onclick: () => { select(null); $("chart").focus(); }}, "Close");
    $("details").replaceChildren(h("section", {class: "chosen-run", "aria-label": `Run ${text.name(point)}`},
      h("header", {}, h("h3", {}, text.name(point)), h("span", {class: "muted"}, `${point.model}, ${point.domain}`), close),
      h("div", {class: "two"}, panels.values(point, study.axes),
        h("div", {}, seeds.length ? h("p", {}, "Items of ", h("span", {}, seeds)) : null, place))));
  }

  function showTable() {
    const [x, y] = [axis(state.x), axis(state.y)], found = recommended();
    const rows = [...shown].sort((a, b) => a.label.localeCompare(b.label) || a.point.rate - b.point.rate || a.point.seed - b.point.seed).map((r) => {
      const isBase = r.point.method === "base";
      const button = h("button", {type: "button", onclick: () => { select(r.id); $("details").scrollIntoView({block: "nearest"}); }}, "Items");
      return h("tr", {}, h("th", {scope: "row"}, text.name(r.point)), h("td", {}, `${r.point.model}, ${r.point.domain}`),
        h("td", {}, text.interval(r.point.values[y.key], y.unit)), h("td", {}, text.interval(r.point.values[x.key], x.unit)),
        h("td", {}, isBase ? "" : counts(r.point, found) ? "within" : "not within"), h("td", {}, isBase ? "" : button));
    });
    const head = ["Run", "Model, domain", `${y.name} [95 %]`, `${x.name} [95 %]`, "Tolerance", "Items"].map((name) => h("th", {scope: "col"}, name));
    $("runs-table").replaceChildren(h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "All points"},
      h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows))));
  }

  // --- controls ---------------------------------------------------------------------------------

  function choice(key, name, options) {
    if (options.length < 2) return null;
    const select = h("select", {id: `choose-${key}`, onchange: (e) => change({[key]: e.target.value})},
      options.map(([value, label]) => h("option", {value, selected: value === String(state[key])}, label)));
    return h("div", {}, h("label", {class: "name", for: `choose-${key}`}, name), select);
  }

  function axisChoice(side, name) {
    const groups = Map.groupBy(study.axes, (a) => a.group);
    const select = h("select", {id: `axis-${side}`, onchange: (e) => change({[side]: e.target.value, [`${side}log`]: wantsLog(e.target.value)})},
      [...groups].map(([label, axes]) => h("optgroup", {label}, axes.map((a) => h("option", {value: a.key, selected: a.key === state[side]}, a.name)))));
    const log = h("input", {type: "checkbox", id: `log-${side}`, checked: state[`${side}log`], onchange: (e) => change({[`${side}log`]: e.target.checked})});
    return h("div", {}, h("label", {class: "name", for: `axis-${side}`}, name), select, h("label", {class: "tick", for: `log-${side}`}, log, "logarithmic"));
  }

  // Boxes to tick; all of them ticked is no filter.
  function ticks(key, name, entries, className) {
    const isOn = (value) => !state[key] || state[key].includes(value);
    const boxes = entries.map(({value, label, icon, attributes, extra}) => {
      const box = h("input", {type: "checkbox", checked: isOn(value), onchange: () => {
        const on = entries.map((entry) => entry.value).filter((v) => (v === value ? box.checked : isOn(v)));
        change({[key]: on.length === entries.length || !on.length ? null : on});
      }});
      return h("label", {class: "tick", ...attributes}, box, icon, h("span", {class: "text"}, label), extra);
    });
    const all = h("button", {type: "button", class: "all", hidden: !state[key], onclick: () => change({[key]: null}), "aria-label": `All: ${name}`}, "all");
    return h("fieldset", {}, h("legend", {class: "out-of-sight"}, name), h("div", {class: "pair"}, h("span", {class: "name", "aria-hidden": "true"}, name), all), h("div", {class: className}, boxes));
  }

  function buildControls() {
    const places = (key, all) => {
      const found = unique(study.points.map((p) => p[key])).filter(Boolean);
      return found.length < 2 ? [] : [["", all], ...found.map((v) => [v, v])];
    };
    const seeds = unique(study.points.map((p) => p.seed).filter((s) => s !== null));
    const methods = labels().map((label) => ({value: label, label, icon: swatch(study.looks.methods[label], path(study.looks.rates[0]?.rate)),
      attributes: {"data-method": label}, extra: h("span", {class: "within"})}));
    const rates = study.looks.rates.map(({rate, path: d}) => ({value: String(rate), label: text.rate(rate), icon: swatch(null, d)}));
    const focused = document.activeElement?.id;
    $("controls").replaceChildren(...[
      ticks("methods", "Methods", methods, ""),
      ticks("rates", "Learning rates", rates, "rates"),
      axisChoice("y", "Upwards"),
      axisChoice("x", "To the right"),
      choice("model", "Model", places("model", "all models")),
      choice("domain", "Domain", places("domain", "all domains")),
      choice("target", "Target responses", places("target", "all forms")),
      choice("seed", "Seeds", seeds.length < 2 ? [] : [["mean", "mean over seeds"], ["each", "each seed"], ...seeds.map((s) => [String(s), `seed ${s}`])]),
    ].filter(Boolean));
    if (focused) $(focused)?.focus();
  }

  function buildLimits() {
    const measured = Object.keys(study.units).filter((name) => study.sections.some((s) => s.methods.some((m) => m.candidates.some((c) => name in c.losses))));
    $("limits").replaceChildren(...measured.map(limit));
  }

  const NAMES = {bits_per_byte: "code length", accuracy: "accuracy"};

  // One tolerance: whether it limits, a slider for powers of ten, the exact number.
  function limit(name) {
    const isOn = name in state.allowed, unit = study.units[name], value = state.allowed[name] ?? study.tolerance[name] ?? 0.01;
    const position = (v) => Math.round((Math.log10(Math.max(v, 10 ** LEAST)) - LEAST) * STEPS);
    const slider = h("input", {type: "range", id: `slider-${name}`, min: "0", max: String((MOST - LEAST) * STEPS), step: "1", disabled: !isOn,
      "aria-label": `Tolerance: largest general loss in ${NAMES[name]}`});
    const exact = h("input", {type: "number", id: `exact-${name}`, min: "0", max: "1", step: "any", disabled: !isOn, "aria-label": `Exact tolerance in ${unit}`});
    const show = (v) => {
      slider.value = String(position(v));
      exact.value = String(v);
      slider.setAttribute("aria-valuetext", `${v} ${unit}`);
    };
    const set = (v) => {
      show(v);
      state.allowed = {...state.allowed, [name]: v};
      drawPoints();
      if ($("runs").open) showTable();
      remember();
    };
    slider.addEventListener("input", () => {
      const found = Number((10 ** (LEAST + slider.valueAsNumber / STEPS)).toPrecision(2));
      if (found !== state.allowed[name]) set(found);
    });
    exact.addEventListener("change", () => set(Math.min(1, Math.max(0, exact.valueAsNumber || 0))));
    show(value);
    const box = h("input", {type: "checkbox", id: `limit-${name}`, checked: isOn, onchange: () => {
      const {[name]: _, ...others} = state.allowed;
      state.allowed = box.checked ? {...others, [name]: value} : others;
      buildLimits();
      change({});
      $(`limit-${name}`).focus();
    }});
    const one = sections();
    const changes = one.length === 1 && isOn ? panels.changes(one[0], state.allowed, name) : [];
    const jumps = changes.slice(0, 8).map((v) => h("button", {type: "button", onclick: () => set(v), "aria-label": `Set the tolerance to ${v}`}, String(v)));
    const told = jumps.length ? h("div", {class: "changes"}, "The recommendation changes at", jumps) : null;
    return h("fieldset", {class: `limit${isOn ? "" : " off"}`}, h("legend", {class: "out-of-sight"}, `Tolerance in ${NAMES[name]}`),
      h("label", {class: "head", for: `limit-${name}`}, box, h("span", {}, "Tolerance: general loss in ", h("strong", {}, NAMES[name]), " of at most")),
      h("div", {class: "row"}, slider, h("span", {}, exact, ` ${unit}`)), told);
  }

  function buildShapes() {
    const full = swatch(null, path(study.looks.rates[0]?.rate));
    const star = swatch(null, STAR);
    const notes = [[star, "θ₀, before training"], [full, "filled: within the tolerance, with all smaller rates"], [null, "bold line: frontier of a method"], [null, "shaded: beyond the tolerance"]];
    $("shapes").replaceChildren(...notes.map(([icon, note]) => h("span", {}, icon, note)));
  }

  // --- changes ----------------------------------------------------------------------------------

  function change(difference) {
    Object.assign(state, difference);
    drawAll();
    remember();
  }

  function drawAll() {
    buildControls();
    buildLimits();
    buildShapes();
    drawChart();
    showDetails();
    if ($("runs").open) showTable();
  }

  function show(hash) {
    state = fromAddress(hash);
    for (const part of document.querySelectorAll("[data-study]")) part.hidden = part.dataset.study !== state.study;
    if ($("study")) $("study").value = state.study;
    for (const look of Object.values(study.looks.methods)) look.css = `color-mix(in oklab, white var(--lift), ${look.color})`;
    drawAll();
    remember();
  }

  function start() {
    $("link-place").append(h("a", {href: "#"}, "Link to this view"), ".");
    $("chart").addEventListener("keydown", key);
    $("controls").addEventListener("submit", (event) => event.preventDefault());
    $("runs").addEventListener("toggle", () => $("runs").open && showTable());
    $("study")?.addEventListener("change", (event) => show(`#study=${encodeURIComponent(event.target.value)}`));
    $("theme").addEventListener("change", (event) => { document.documentElement.dataset.theme = event.target.value; });
    addEventListener("hashchange", () => location.hash.includes("=") && show(location.hash));
    let width = 0;
    new ResizeObserver(() => {
      const now = $("chart").clientWidth;
      if (now && now !== width && width) drawChart();
      width = now;
    }).observe($("chart"));
    document.addEventListener("click", (event) => {
      const link = event.target.closest("nav a, .skip, .to-runs");
      if (!link) return;
      event.preventDefault();
      const name = link.hash.slice(1);
      if (link.matches(".to-runs")) show(link.hash);
      const part = link.matches(".to-runs") || name === "explorer" ? $("explorer") : document.querySelector(`[data-study]:not([hidden]) [data-part="${name}"]`);
      part.scrollIntoView({behavior: "smooth"});
      if (part === $("explorer")) part.focus({preventScroll: true});
    });
    show(location.hash);
  }

  start();
  return {data: DATA, chart, get state() { return state; }, get shown() { return shown; }, get view() { return view; }, change, show, recommended};
})();
window.explorer = explorer;
window.rule = rule;
