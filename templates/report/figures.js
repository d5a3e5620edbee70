// Figures: each is drawn when it comes into view, again when its choices or the theme change, and has its numbers beside it.

const COLOURS = ["#3b6fd4", "#d9822b", "#2a9d74", "#c2453e", "#8a63c9", "#2fa7b8", "#d36fb0", "#9a9a2b", "#7f6a4d", "#5b7fa6"];
/** Dark to light: the better, the lighter, on any ground. */
const SCALE = [[0, "#2b1a5a"], [0.2, "#3f3f93"], [0.4, "#2d6fa3"], [0.6, "#23998f"], [0.8, "#6cc26a"], [1, "#f4e04d"]];
const STATES = { succeeded: "#2a9d74", leased: "#3b6fd4", queued: "#9aa5b5", blocked: "#c5ccd6", failed: "#c2453e", cancelled: "#7f6a4d" };

function theme() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return { ink: of("--ink"), soft: of("--soft"), grid: of("--grid"), line: of("--line"), card: of("--card"), accent: of("--accent"), bad: of("--bad") };
}

function layout(more) {
  const t = theme();
  const axis = { gridcolor: t.grid, zerolinecolor: t.grid, linecolor: t.line, tickcolor: t.line, tickfont: { color: t.soft }, title: { font: { color: t.soft, size: 12 } }, automargin: true };
  const merge = (own) => ({ ...axis, ...own, title: { ...axis.title, ...(own && own.title) } });
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", colorway: COLOURS,
    font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif", size: 12, color: t.ink },
    margin: { l: 52, r: 16, t: 12, b: 44 }, hovermode: "closest", dragmode: "zoom",
    hoverlabel: { bgcolor: t.card, bordercolor: t.line, font: { color: t.ink, size: 12 }, align: "left" },
    legend: { orientation: "h", y: -0.22, x: 0, yanchor: "top", font: { color: t.soft, size: 11 } },
    // Without a distance of its own the title lies on the values of an axis whose values are names.
    ...more, xaxis: merge(more.xaxis), yaxis: merge({ ...more.yaxis, title: { standoff: 8, ...(more.yaxis && more.yaxis.title) } }),
  };
}

const CONFIG = { displaylogo: false, responsive: true, /* Without a pointer to hover with it would lie on the picture for good. */ displayModeBar: matchMedia("(hover: none)").matches ? false : "hover", modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"], toImageButtonOptions: { format: "svg" } };

const drawn = new Set();
/** Becomes a picture when it is seen. `draw` gives {data, layout, numbers: {columns, rows}} or a text where there is nothing to draw. */
function figure(label, draw) {
  const plot = el("div", { class: "figure", role: "img", "aria-label": label });
  const numbers = el("details", { ontoggle: () => fill() }, el("summary", {}, "Numbers"));
  const element = el("div", {}, plot, numbers);
  const self = { element, seen: false, redraw };
  let last = null;
  function redraw() {
    if (!self.seen) return;
    try {
      last = draw(plot.clientWidth || 640);
    } catch (error) {
      // The others are drawn all the same.
      console.error(error);
      last = "This can't be drawn; the browser's console says why.";
    }
    if (typeof last === "string") {
      if (plot.data) Plotly.purge(plot);
      plot.replaceChildren(el("p", { class: "about" }, last));
      numbers.hidden = true;
      return;
    }
    if (!plot.data) plot.replaceChildren();
    numbers.hidden = !last.numbers;
    Plotly.react(plot, last.data, layout(last.layout), CONFIG);
    fill();
  }
  function fill() {
    if (!numbers.open || !last || !last.numbers) return;
    const { columns, rows } = last.numbers;
    const one = (head, place) => ({ head, number: typeof (rows[0] || [])[place] === "number", cell: (row) => typeof row[place] === "number" ? String(row[place]) : shown(row[place]), sort: (row) => row[place] });
    numbers.replaceChildren(numbers.firstChild, table(columns.map(one), rows, { first: 25 }).element);
  }
  /** Of a page that goes on without it. */
  self.forget = () => {
    drawn.delete(self);
    watcher.unobserve(element);
    if (plot.data) Plotly.purge(plot);
  };
  self.width = (width) => plot.data && Plotly.relayout(plot, { width: width || undefined, autosize: !width });
  drawn.add(self);
  watcher.observe(element);
  watched.set(element, self);
  return self;
}
const watched = new WeakMap();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    const self = watched.get(entry.target);
    watcher.unobserve(entry.target);
    self.seen = true;
    self.redraw();
  }
}, { rootMargin: "600px" });
function redrawAll() { drawn.forEach((one) => one.redraw()); }
/** All of them, for paper. */
function drawUnseen() { drawn.forEach((one) => { if (!one.seen) { one.seen = true; one.redraw(); } }); }

// --- what the document says -----------------------------------------------------------------------------------------------------

/** The parameters that differ, with their values in order. */
function axesOf(doc) {
  return doc.parameters.map((name, place) => {
    const keys = new Map();
    for (const c of doc.configurations) if (c.values[place] !== null) keys.set(JSON.stringify(c.values[place]), c.values[place]);
    const levels = [...keys.values()].sort(compareValues);
    return { name, place, levels, at: new Map(levels.map((value, i) => [JSON.stringify(value), i])) };
  }).filter((axis) => axis.levels.length > 1);
}
function label(doc, c, axes) {
  const parts = axes.filter((axis) => c.values[axis.place] !== null).map((axis) => `${axis.name}=${shown(c.values[axis.place])}`);
  return parts.join(" ") || doc.name;
}
const metricAt = (doc, name) => doc.metrics.findIndex((metric) => metric.name === name);
const meanOf = (c, at) => (at >= 0 && c.results[at] ? c.results[at][0] : null);
/** Smallest and largest. (Spread into Math.min, some hundred thousand values overflow the stack.) */
const extent = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
const lessIsBetter = (metric) => metric && metric.goal === "minimize";

// --- heat map -------------------------------------------------------------------------------------------------------------------

const MOST_CELLS = 40000;
function heatMap(doc, axes, pick, width) {
  const at = metricAt(doc, pick.metric);
  const metric = doc.metrics[at];
  const [rows, columns] = [axes.find((a) => a.name === pick.rows), axes.find((a) => a.name === pick.columns)];
  const rest = axes.filter((a) => a !== rows && a !== columns);
  const size = (rows ? rows.levels.length : 1) * columns.levels.length;
  if (size > MOST_CELLS) return `${whole(size)} cells are too many to draw; choose parameters with fewer values.`;
  const fits = (c) => rest.every((a) => JSON.stringify(c.values[a.place]) === pick.rest[a.name]);
  const key = (value) => JSON.stringify(value);
  const cells = new Map();
  for (const c of doc.configurations) {
    if (!fits(c) || !c.results[at]) continue;
    const place = `${rows ? key(c.values[rows.place]) : ""}|${key(c.values[columns.place])}`;
    if (!cells.has(place)) cells.set(place, c);
  }
  if (cells.size === 0) return "No configuration of this choice has a result.";
  const rowLevels = rows ? rows.levels : [null];
  const decimals = decimalsFor([...cells.values()].map((c) => c.results[at][0]));
  const z = [], text = [], hover = [], numbers = [];
  // More than one where the best are equal.
  let best = [];
  rowLevels.forEach((r, i) => {
    const [zs, ts, hs] = [[], [], []];
    columns.levels.forEach((col, j) => {
      const c = cells.get(`${rows ? key(r) : ""}|${key(col)}`);
      const result = c && c.results[at];
      zs.push(result ? result[0] : null);
      ts.push(result ? (columns.levels.length > 8 || width < 560 ? result[0].toFixed(decimals) : spread(result, decimals)) : "");
      hs.push(result ? plain(label(doc, c, axes)) + `<br>${plain(metric.name)} ${spread(result, decimals)}, n = ${result[2]}<br>trials ${plain(c.trials)}` : "");
      if (!result) return;
      numbers.push([...(rows ? [shown(r)] : []), shown(col), result[0], result[1], result[2], c.trials]);
      if (!metric.goal) return;
      const ahead = best.length === 0 ? 1 : lessIsBetter(metric) ? best[0].value - result[0] : result[0] - best[0].value;
      if (ahead > 0) best = [];
      if (ahead >= 0) best.push({ value: result[0], i, j });
    });
    z.push(zs); text.push(ts); hover.push(hs);
  });
  const small = cells.size <= 240 && columns.levels.length <= 16;
  const ticks = (levels) => levels.map((value) => plain(shown(value)));
  const t = theme();
  return {
    data: [{
      type: "heatmap", z, x: columns.levels.map((_, j) => j), y: rowLevels.map((_, i) => i), hovertext: hover, hoverinfo: "text", text,
      colorscale: SCALE, reversescale: lessIsBetter(metric), xgap: 2, ygap: 2, hoverongaps: false,
      showscale: width >= 560, colorbar: { thickness: 12, outlinewidth: 0, tickfont: { color: t.soft, size: 11 }, len: 1 },
    }, ...(small ? [numbersOn(z, text, lessIsBetter(metric), width < 560 ? 10 : 12)] : [])],
    layout: {
      height: Math.min(760, 105 + rowLevels.length * (small ? 42 : 24)),
      xaxis: { title: { text: plain(columns.name) }, range: [-0.5, columns.levels.length - 0.5], tickvals: columns.levels.map((_, j) => j), ticktext: ticks(columns.levels), showgrid: false, zeroline: false },
      yaxis: { title: { text: rows ? plain(rows.name) : "" }, tickvals: rows ? rowLevels.map((_, i) => i) : [], ticktext: rows ? ticks(rowLevels) : [], range: [rowLevels.length - 0.5, -0.5], showgrid: false, zeroline: false },
      shapes: best.map(({ i, j }) => ({ type: "rect", x0: j - 0.5, x1: j + 0.5, y0: i - 0.5, y1: i + 0.5, line: { color: t.ink, width: 2.5 } })),
    },
    numbers: { columns: [...(rows ? [rows.name] : []), columns.name, metric.name, "std", "n", "trials"], rows: numbers },
  };
}

/** A colour of the scale, as red, green, blue; `place` from 0 to 1. */
const colourAt = (place) => {
  const at = Math.min(SCALE.length - 2, Math.floor(place * (SCALE.length - 1)));
  const part = (step, shift) => parseInt(SCALE[step][1].slice(1 + shift, 3 + shift), 16);
  const rest = place * (SCALE.length - 1) - at;
  return [0, 2, 4].map((shift) => part(at, shift) + (part(at + 1, shift) - part(at, shift)) * rest);
};

/** WCAG 2.1, relative luminance. */
const luminance = (colour) => {
  const [red, green, blue] = colour.map((part) => (part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};

/** Black or white, whichever stands out: 4.58 to 1 at the least, on any colour. Plotly's own choice has 3.2 on some. */
const inkOn = (colour) => (luminance(colour) > 0.1791 ? "#000000" : "#ffffff");

/** The numbers of a heat map, each in the colour that can be read on its cell. */
const numbersOn = (z, text, isReversed, size) => {
  const known = z.flat().filter((value) => value !== null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const cells = z.flatMap((row, i) => row.map((value, j) => ({ value, i, j }))).filter(({ value }) => value !== null);
  const place = (value) => (high > low ? (value - low) / (high - low) : 0.5);
  const ink = ({ value }) => inkOn(colourAt(isReversed ? 1 - place(value) : place(value)));
  return {
    type: "scatter", mode: "text", x: cells.map(({ j }) => j), y: cells.map(({ i }) => i), text: cells.map(({ i, j }) => text[i][j]),
    textfont: { size, color: cells.map(ink) }, hoverinfo: "skip", showlegend: false, cliponaxis: false,
  };
};

// --- curves ---------------------------------------------------------------------------------------------------------------------

/** A metric may be called `constructor`. */
const curveOf = (trial, metric) => (Object.hasOwn(trial.curves, metric) ? trial.curves[metric] : null);
/** Mean and deviation over the seeds of one configuration, epoch by epoch. */
function averaged(trials, metric) {
  const at = new Map();
  for (const trial of trials) {
    const curve = curveOf(trial, metric);
    if (!curve) continue;
    curve[0].forEach((epoch, i) => { if (!at.has(epoch)) at.set(epoch, []); at.get(epoch).push(curve[1][i]); });
  }
  return [...at.keys()].sort((a, b) => a - b).map((epoch) => {
    const values = at.get(epoch);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const std = values.length > 1 ? Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / (values.length - 1)) : 0;
    return { epoch, mean, std, n: values.length };
  });
}
function faint(colour, alpha) {
  const n = parseInt(colour.slice(1), 16);
  return `rgba(${n >> 16},${(n >> 8) & 255},${n & 255},${alpha})`;
}

function curves(doc, axes, pick, width) {
  const metric = doc.metrics[metricAt(doc, pick.metric)];
  const byConfiguration = new Map();
  for (const trial of doc.curves) {
    if (!curveOf(trial, metric.name)) continue;
    if (!byConfiguration.has(trial.configuration)) byConfiguration.set(trial.configuration, []);
    byConfiguration.get(trial.configuration).push(trial);
  }
  let places = [...byConfiguration.keys()].sort((a, b) => a - b);
  if (pick.count === "spread") {
    // From the best to the worst of those whose curves are here, evenly.
    const most = Math.min(6, places.length);
    places = Array.from({ length: most }, (_, i) => places[Math.round((i * (places.length - 1)) / Math.max(1, most - 1))]);
  } else places = places.slice(0, Number(pick.count));
  // In the legend only what these differ in.
  const differing = axes.filter((axis) => new Set(places.map((place) => JSON.stringify(doc.configurations[place].values[axis.place]))).size > 1);
  if (places.length === 0) return `Nothing was reported of ${metric.name} epoch by epoch.`;
  const data = [], numbers = [], starts = new Set();
  let longest = 0;
  places.forEach((place, i) => {
    const [c, trials, colour] = [doc.configurations[place], byConfiguration.get(place), COLOURS[i % COLOURS.length]];
    const dash = ["solid", "dash", "dot"][Math.floor(i / COLOURS.length) % 3];
    const name = label(doc, c, differing.length ? differing : axes);
    const points = averaged(trials, metric.name);
    const x = points.map((p) => p.epoch);
    longest = Math.max(longest, x.length);
    if (c.start !== null) starts.add(c.start);
    if (pick.single) {
      for (const trial of trials) {
        const curve = curveOf(trial, metric.name);
        data.push({ type: "scatter", mode: "lines", x: curve[0], y: curve[1], line: { color: faint(colour, 0.45), width: 1 }, legendgroup: String(place), showlegend: false,
          hoverinfo: "text", hovertext: curve[0].map((epoch, k) => `trial ${trial.trial}, seed ${trial.seed}<br>epoch ${epoch}: ${curve[1][k]}`) });
      }
    } else if (points.some((p) => p.n > 1)) {
      data.push({ type: "scatter", mode: "lines", x: [...x, ...[...x].reverse()], y: [...points.map((p) => p.mean + p.std), ...[...points].reverse().map((p) => p.mean - p.std)],
        fill: "toself", fillcolor: faint(colour, 0.14), line: { width: 0 }, hoverinfo: "skip", legendgroup: String(place), showlegend: false });
    }
    data.push({ type: "scatter", mode: points.length > 1 ? "lines" : "markers", x, y: points.map((p) => p.mean), name: plain(name), legendgroup: String(place), line: { color: colour, width: 2, dash }, marker: { color: colour },
      hoverinfo: "text", hovertext: points.map((p) => `${plain(name)}<br>epoch ${p.epoch}: ${p.mean.toPrecision(5)}${p.n > 1 ? ` ± ${p.std.toPrecision(3)}` : ""}, n = ${p.n}`) });
    points.forEach((p) => numbers.push([name, p.epoch, p.mean, p.n > 1 ? p.std : null, p.n]));
  });
  const t = theme();
  const marks = [...starts].sort((a, b) => a - b).slice(0, 4);
  const rows = Math.ceil(places.length / Math.max(1, Math.floor(width / 260)));
  return {
    data,
    layout: {
      height: 360 + 19 * rows, hovermode: "closest", margin: { l: 56, r: 16, t: marks.length ? 26 : 12, b: 44 },
      xaxis: { title: { text: "epoch" }, rangemode: longest > 1 ? "normal" : "tozero" }, yaxis: { title: { text: plain(metric.name) } },
      legend: { orientation: "h", x: 0, y: -0.2, yanchor: "top", font: { color: t.soft, size: 11 } },
      shapes: marks.map((epoch) => ({ type: "line", x0: epoch, x1: epoch, yref: "paper", y0: 0, y1: 1, line: { color: t.soft, width: 1.2, dash: "dash" } })),
      annotations: marks.map((epoch, i) => ({ x: epoch, y: 1, yref: "paper", yanchor: "bottom", showarrow: false, text: i === 0 ? `method starts (${epoch})` : String(epoch), font: { size: 11, color: t.soft } })),
    },
    numbers: { columns: ["configuration", "epoch", metric.name, "std", "n"], rows: numbers },
  };
}

// --- one metric against another -------------------------------------------------------------------------------------------------

function fit(points) {
  const n = points.length;
  const [mx, my] = [0, 1].map((k) => points.reduce((sum, p) => sum + p[k], 0) / n);
  let [sxx, syy, sxy] = [0, 0, 0];
  for (const [x, y] of points) { sxx += (x - mx) ** 2; syy += (y - my) ** 2; sxy += (x - mx) * (y - my); }
  if (n < 3 || sxx === 0 || syy === 0) return null;
  const slope = sxy / sxx;
  return { slope, intercept: my - slope * mx, r: sxy / Math.sqrt(sxx * syy) };
}

const MOST_GROUPS = COLOURS.length;
const NO_GROUP = "#9aa5b5";
/** Configurations by the values of a parameter: the first ones, all others together, and those to which it does not apply. */
function grouped(configurations, by) {
  if (!by) return [["", configurations, COLOURS[0]]];
  const named = by.levels.slice(0, by.levels.length > MOST_GROUPS ? MOST_GROUPS - 1 : MOST_GROUPS);
  const groups = new Map(named.map((value, i) => [JSON.stringify(value), [`${by.name}=${shown(value)}`, [], COLOURS[i]]]));
  const [others, without] = [[`another ${by.name}`, [], NO_GROUP], [`without ${by.name}`, [], NO_GROUP]];
  for (const c of configurations) {
    const value = c.values[by.place];
    (value === null ? without : groups.get(JSON.stringify(value)) || others)[1].push(c);
  }
  return [...groups.values(), others, without].filter(([, own]) => own.length > 0);
}

function against(doc, axes, pick, width) {
  const [x, y] = [metricAt(doc, pick.x), metricAt(doc, pick.y)];
  const shownOnes = doc.configurations.filter((c) => c.results[x] && c.results[y]);
  if (shownOnes.length === 0) return "No configuration has both.";
  const points = shownOnes.map((c) => [c.results[x][0], c.results[y][0]]);
  const by = axes.find((axis) => axis.name === pick.colour);
  const groups = grouped(shownOnes, by);
  const many = shownOnes.length > 800;
  const data = groups.map(([name, own, colour]) => {
    const deviation = (at) => ({ type: "data", array: own.map((c) => c.results[at][1] || 0), visible: !many && own.some((c) => c.results[at][1]), thickness: 1, width: 0, color: faint(colour, 0.35) });
    return { type: "scatter", mode: "markers", name: plain(name), showlegend: !!by, x: own.map((c) => c.results[x][0]), y: own.map((c) => c.results[y][0]),
      error_x: deviation(x), error_y: deviation(y), marker: { size: many ? 4 : 8, opacity: many ? 0.5 : 0.85, color: colour },
      hoverinfo: "text", hovertext: own.map((c) => `${plain(label(doc, c, axes))}<br>${plain(pick.x)} ${c.results[x][0].toPrecision(5)}, ${plain(pick.y)} ${c.results[y][0].toPrecision(5)}`) };
  });
  const t = theme();
  const line = fit(points);
  const ends = extent(points.map((p) => p[0]));
  if (line) data.push({ type: "scatter", mode: "lines", x: ends, y: ends.map((v) => line.intercept + line.slope * v), line: { color: t.ink, width: 1.5 }, hoverinfo: "skip", name: `fit, r = ${line.r.toFixed(3)}` });
  if (pick.diagonal) {
    const low = Math.max(ends[0], extent(points.map((p) => p[1]))[0]);
    data.push({ type: "scatter", mode: "lines", x: [Math.min(low, ends[0]), ends[1]], y: [Math.min(low, ends[0]), ends[1]], line: { color: t.soft, width: 1, dash: "dot" }, hoverinfo: "skip", name: "no gap" });
  }
  return {
    data,
    layout: { height: 400, xaxis: { title: { text: plain(pick.x) } }, yaxis: { title: { text: plain(pick.y) } } },
    numbers: { columns: ["configuration", pick.x, pick.y], rows: shownOnes.map((c) => [label(doc, c, axes), c.results[x][0], c.results[y][0]]) },
  };
}

// --- parallel coordinates -------------------------------------------------------------------------------------------------------

const MOST_LINES = 2000;
function parallel(doc, axes, pick, width) {
  const at = metricAt(doc, pick.metric);
  const metric = doc.metrics[at];
  let all = doc.configurations.filter((c) => c.results[at]).sort((a, b) => (lessIsBetter(metric) ? 1 : -1) * (a.results[at][0] - b.results[at][0]));
  if (all.length < 2) return "It takes two configurations with a result.";
  if (all.length > MOST_LINES) {
    // The best fifth of the lines, and of the others each so-and-so-many'th.
    const best = all.slice(0, MOST_LINES / 5);
    const step = (all.length - best.length) / (MOST_LINES - best.length);
    all = best.concat(Array.from({ length: MOST_LINES - best.length }, (_, i) => all[best.length + Math.floor(i * step)]));
  }
  const values = all.map((c) => c.results[at][0]);
  const [low, high] = extent(values);
  const share = (value) => (high > low ? (value - low) / (high - low) : 0.5);
  const shownAxes = axes.slice(0, width < 560 ? 5 : 9);
  const level = (axis, value) => {
    const place = axis.at.get(JSON.stringify(value));
    return place === undefined ? null : axis.levels.length > 1 ? place / (axis.levels.length - 1) : 0.5;
  };
  const line = (c) => [...shownAxes.map((axis) => level(axis, c.values[axis.place])), share(c.results[at][0])];
  const BINS = 12;
  const bins = Array.from({ length: BINS }, () => ({ x: [], y: [], text: [] }));
  [...all].reverse().forEach((c) => {
    const good = lessIsBetter(metric) ? 1 - share(c.results[at][0]) : share(c.results[at][0]);
    const bin = bins[Math.min(BINS - 1, Math.floor(good * BINS))];
    const hover = `${plain(label(doc, c, axes))}<br>${plain(metric.name)} ${c.results[at][0].toPrecision(5)}`;
    line(c).forEach((y, x) => { bin.x.push(x); bin.y.push(y); bin.text.push(hover); });
    bin.x.push(null); bin.y.push(null); bin.text.push("");
  });
  const t = theme();
  // On a dark ground thin lines of the darkest colours would not be seen.
  const darkest = document.documentElement.dataset.theme === "dark" ? 0.25 : 0;
  const colourAt = (k) => {
    const place = (darkest + (1 - darkest) * (k / (BINS - 1))) * (SCALE.length - 1);
    const i = Math.min(SCALE.length - 2, Math.floor(place));
    const part = (hex, shift) => (parseInt(hex.slice(1), 16) >> shift) & 255;
    const mix = (shift) => Math.round(part(SCALE[i][1], shift) + (part(SCALE[i + 1][1], shift) - part(SCALE[i][1], shift)) * (place - i));
    return `rgb(${mix(16)},${mix(8)},${mix(0)})`;
  };
  const data = bins.map((bin, k) => ({ type: "scatter", mode: "lines", x: bin.x, y: bin.y, hoverinfo: "text", hovertext: bin.text, connectgaps: false, showlegend: false,
    line: { color: colourAt(k), width: all.length > 300 ? 0.8 : 1.6 }, opacity: all.length > 300 ? 0.45 : 0.8 }));
  const first = line(all[0]);
  data.push({ type: "scatter", mode: "lines+markers", x: first.map((_, i) => i), y: first, line: { color: t.ink, width: 3 }, marker: { size: 6, color: t.ink }, hoverinfo: "text", hovertext: plain(`${metric.goal ? "best" : "largest"}: ${label(doc, all[0], axes)}`), showlegend: false });
  const names = [...shownAxes.map((axis) => axis.name), metric.name];
  const decimals = decimalsFor([low, high]);
  // As much as fits between two axes.
  const room = (letter) => Math.max(5, Math.min(16, Math.floor((width - 60) / Math.max(1, names.length - 1) / letter)));
  const cut = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
  const tick = (x, y, text) => ({ x, y, xanchor: "left", xshift: 6, showarrow: false, text: plain(cut(text, room(8.5))), font: { size: 10.5, color: t.ink }, bgcolor: t.card, opacity: 0.95, borderpad: 1 });
  const ticks = shownAxes.flatMap((axis, x) => {
    const n = axis.levels.length;
    const every = Math.ceil(n / 12);
    return axis.levels.map((value, i) => (i % every === 0 || i === n - 1 ? tick(x, n > 1 ? i / (n - 1) : 0.5, shown(value)) : null)).filter(Boolean);
  });
  const last = names.length - 1;
  const end = (y, text, yshift) => ({ x: last, y, yshift, xanchor: "right", xshift: 8, showarrow: false, text, font: { size: 10.5, color: t.ink } });
  ticks.push(end(0, low.toFixed(decimals), -11), end(1, high.toFixed(decimals), 11));
  const head = (x, text) => ({ x, y: 1, yshift: 32, xanchor: x === 0 ? "left" : x === last ? "right" : "center", xshift: x === 0 ? -8 : x === last ? 8 : 0, showarrow: false, text: plain(cut(text, room(9.6))), font: { size: 12, color: t.ink } });
  ticks.push(...names.map((name, x) => head(x, name)));
  return {
    data,
    layout: {
      height: 430, margin: { l: 16, r: 16, t: 48, b: 16 }, annotations: ticks,
      shapes: names.map((_, x) => ({ type: "line", x0: x, x1: x, y0: 0, y1: 1, line: { color: t.line, width: 1.5 }, layer: "below" })),
      xaxis: { visible: false, range: [-0.08, last + 0.08] },
      yaxis: { visible: false, range: [-0.07, 1.02] },
    },
  };
}

// --- what matters ---------------------------------------------------------------------------------------------------------------

function shares(doc) {
  const importance = doc.analysis.importance;
  if (!importance) return "Nothing varies, or too few results are there.";
  const rows = [...importance.parameters, ...importance.pairs.filter((pair) => pair.share >= 0.005)].map((share) => [share.parameters.join(" × "), share.share]);
  if (importance.seeds !== null) rows.push(["seeds", importance.seeds]);
  rows.sort((a, b) => a[1] - b[1]);
  const top = rows.slice(-12);
  return {
    data: [{ type: "bar", orientation: "h", y: top.map((_, i) => i), x: top.map((row) => row[1] * 100), marker: { color: top.map((row) => (row[0] === "seeds" ? STATES.queued : COLOURS[0])) }, text: top.map((row) => `${(row[1] * 100).toFixed(1)} %`), textposition: "auto", hoverinfo: "skip" }],
    layout: { height: 70 + 30 * top.length, xaxis: { title: { text: "share of the variance, %" } }, yaxis: { tickvals: top.map((_, i) => i), ticktext: top.map((row) => plain(row[0].length > 26 ? row[0].slice(0, 25) + "…" : row[0])), showgrid: false } },
    numbers: { columns: ["", "share"], rows: rows.reverse() },
  };
}

function effects(doc, pick) {
  const parameter = doc.analysis.effects.find((one) => one.parameter === pick.parameter);
  if (!parameter || parameter.values.length === 0) return "Its effect can't be told apart from that of other parameters.";
  const values = parameter.values;
  const hasIntervals = values.some((value) => value.interval);
  const t = theme();
  return {
    data: [{ type: "scatter", mode: "markers", x: values.map((_, i) => i), y: values.map((value) => value.effect), marker: { size: 10, color: COLOURS[0] },
      error_y: { type: "data", symmetric: false, visible: hasIntervals, array: values.map((v) => (v.interval ? v.interval[1] - v.effect : 0)), arrayminus: values.map((v) => (v.interval ? v.effect - v.interval[0] : 0)), color: COLOURS[0], thickness: 1.6, width: 5 },
      hoverinfo: "text", hovertext: values.map((v) => `${plain(v.value)}: ${v.effect.toPrecision(4)}${v.interval ? ` (${v.interval[0].toPrecision(4)} to ${v.interval[1].toPrecision(4)})` : ""}<br>mean ${v.mean.toPrecision(5)} over ${v.configurations} configurations`) }],
    layout: { height: 300, xaxis: { tickvals: values.map((_, i) => i), ticktext: values.map((v) => plain(v.value)), title: { text: plain(parameter.parameter) }, showgrid: false, range: [-0.5, values.length - 0.5] }, yaxis: { title: { text: plain(`effect on ${doc.analysis.metric ? doc.analysis.metric.name : "the metric"}`) }, zeroline: true, zerolinecolor: t.soft } },
    numbers: { columns: [parameter.parameter, "effect", "from", "to", "mean", "configurations"], rows: values.map((v) => [v.value, v.effect, v.interval ? v.interval[0] : null, v.interval ? v.interval[1] : null, v.mean, v.configurations]) },
  };
}

// --- the stage tree -------------------------------------------------------------------------------------------------------------

function stageTree(doc) {
  const blocks = doc.stages.map((block, place) => ({ ...block, place, children: [] }));
  const roots = [];
  for (const block of blocks) (block.parent === null ? roots : blocks[block.parent].children).push(block);
  const GAP = 0;
  const lay = (block, from) => {
    let y = from;
    for (const child of block.children) y = lay(child, y);
    block.low = from;
    block.high = Math.max(y, from + block.trials);
    return block.high + GAP;
  };
  roots.reduce((y, root) => lay(root, y), 0);
  const t = theme();
  const data = Object.keys(STATES).map((state) => {
    const own = blocks.filter((block) => block.state === state && block.trials > 0);
    return { type: "bar", orientation: "h", name: state, base: own.map((b) => b.first - 1), x: own.map((b) => b.last - b.first + 1), y: own.map((b) => (b.low + b.high) / 2), width: own.map((b) => b.high - b.low),
      marker: { color: STATES[state], line: { color: t.card, width: own.length > 150 ? 0.6 : 1.5 } }, hoverinfo: "text",
      hovertext: own.map((b) => `epochs ${b.first}–${b.last}, ${counted(b.stages, "stage", "stages")}, ${state}<br>${counted(b.trials, "trial goes", "trials go")} through it, trial ${b.trial} first`) };
  }).filter((trace) => trace.x.length > 0);
  return {
    data,
    layout: { height: Math.max(200, Math.min(560, 120 + blocks.length * 9)), barmode: "overlay", showlegend: true, xaxis: { title: { text: "epoch" }, rangemode: "tozero" }, yaxis: { visible: false, autorange: "reversed" } },
    numbers: { columns: ["first epoch", "last epoch", "state", "stages", "trials"], rows: blocks.map((b) => [b.first, b.last, b.state, b.stages, b.trials]) },
  };
}
