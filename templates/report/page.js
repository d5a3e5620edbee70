// The page: its sections, top to bottom, and what holds for all of them.

(function () {
  const doc = JSON.parse(document.getElementById("document").textContent);
  const axes = axesOf(doc);
  const ranking = doc.metrics[0] || null;
  const content = document.getElementById("content");
  const best = doc.configurations.find((c) => c.results[0]) || null;
  /** Without a goal nothing is better than anything else. */
  const isRanked = !!(ranking && ranking.goal);
  const metricChoices = doc.metrics.map((metric) => [metric.name, metric.name]);
  const axisChoices = axes.map((axis) => [axis.name, axis.name]);

  themeChanges(redrawAll);

  // --- paper: light, all pictures, as wide as a page
  const PAPER = 680;
  let before = null;
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    drawUnseen();
    redrawAll();
    drawn.forEach((one) => one.width(PAPER));
  });
  addEventListener("afterprint", () => {
    document.documentElement.dataset.theme = before || "light";
    drawn.forEach((one) => one.width(null));
    redrawAll();
  });

  const links = new Map();
  function section(id, title, about, ...children) {
    const element = el("section", { id, "aria-labelledby": `${id}-title`, class: ["configurations", "failures", "provenance"].includes(id) && "long" }, el("h2", { id: `${id}-title` }, title), about && el("p", { class: "about" }, about), children);
    content.append(element);
    const link = el("a", { href: `#${id}` }, title);
    links.set(element, link);
    document.getElementById("sections").append(el("li", {}, link));
    return element;
  }
  /** A figure with choices above it: `pick` holds them, and each change draws it anew. */
  function chosenFigure(label, controls, draw) {
    const one = figure(label, draw);
    return [el("div", { class: "controls" }, controls(one.redraw)), one.element];
  }

  // --- summary
  const t = doc.trials;
  document.getElementById("subtitle").textContent = [`sweep ${doc.sweep}`, counted(t.total, "trial", "trials"), counted(doc.configurations.length, "configuration", "configurations"),
    doc.epoch === "last" ? null : `numbers of epoch ${doc.epoch}`, doc.selected ? `where ${doc.selected}` : null].filter(Boolean).join(" · ");
  const tile = (kind, name, value, small, note, meter) => el("div", { class: `tile ${kind}` }, el("div", { class: "name" }, name), el("div", { class: "value" }, value, small && el("small", {}, ` ${small}`)), note && el("div", { class: "note" }, note), meter);
  const decimals = doc.metrics.map((_, at) => decimalsFor(doc.configurations.map((c) => meanOf(c, at))));
  const tiles = [];
  if (best && isRanked) {
    const [mean, std, n] = best.results[0];
    tiles.push(tile("best", `best ${ranking.name}`, mean.toFixed(decimals[0]), std === null ? `n = ${n}` : `± ${std.toFixed(decimals[0])}, n = ${n}`, label(doc, best, axes)));
  }
  const part = (n, kind) => el("i", { class: kind, style: `width:${(100 * n) / Math.max(1, t.total)}%` });
  const unfinished = [[t.running, "running"], [t.queued, "queued"], [t.cancelled, "cancelled"]].filter(([n]) => n > 0).map(([n, what]) => `${whole(n)} ${what}`).join(", ");
  tiles.push(tile("", "trials with a result", whole(t.succeeded), `of ${whole(t.total)}`, unfinished || null, el("div", { class: "meter", "aria-hidden": true }, part(t.succeeded, "good"), part(t.failed, "bad"), part(t.running, "run"))));
  // Epochs are known of the whole sweep only.
  const isShared = !doc.selected && doc.epochs.unshared > t.total;
  if (isShared) {
    const saved = doc.epochs.unshared - doc.epochs.shared;
    tiles.push(tile("", "epochs saved by sharing", whole(Math.max(0, saved)), `of ${whole(doc.epochs.unshared)}`, `${whole(doc.epochs.done)} of ${whole(doc.epochs.shared)} trained`));
  }
  if (t.failed > 0) tiles.push(tile("failed", "failed trials", whole(t.failed), null, doc.failures.map((failure) => failure.reason).slice(0, 4).join(", ")));
  section("summary", "Summary", null, el("div", { class: "tiles" }, tiles), doc.warnings.map((text) => el("p", { class: "warning" }, text)));

  // --- configurations
  if (doc.configurations.length > 0) {
    const all = doc.configurations.map((c, place) => ({ c, place, first: isRanked && place === 0 && c === best }));
    const columns = [
      { head: "rank", number: true, cell: (row) => String(row.place + 1), sort: (row) => row.place },
      ...axes.map((axis) => ({ head: axis.name, number: axis.levels.every((v) => typeof v === "number"), cell: (row) => shown(row.c.values[axis.place]), sort: (row) => row.c.values[axis.place] })),
      ...doc.metrics.map((metric, at) => ({
        head: metric.name, number: true, sort: (row) => meanOf(row.c, at),
        cell: (row) => { const r = row.c.results[at]; return r ? [r[0].toFixed(decimals[at]), r[1] === null ? null : el("span", { class: "std" }, ` ± ${r[1].toFixed(decimals[at])}`)] : "–"; },
        mark: ((top) => (row) => metric.goal && top && row.c.results[at] && meanOf(row.c, at) === meanOf(top, at))(topOf(at)),
      })),
      { head: "seeds", number: true, cell: (row) => (row.c.n === row.c.seeds ? String(row.c.n) : `${row.c.n} of ${row.c.seeds}`), sort: (row) => row.c.n },
      { head: "trials", cell: (row) => row.c.trials || "–" },
    ];
    const list = table(columns, all, { first: 12 });
    const words = (row) => [label(doc, row.c, axes), row.c.trials, row.c.hash].join(" ").toLowerCase();
    const find = el("input", { type: "search", placeholder: best ? label(doc, best, axes.slice(0, 1)) : "", "aria-label": "Find configurations", oninput: () => {
      const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      list.show(all.filter((row) => wanted.every((word) => words(row).includes(word))));
    } });
    section("configurations", "Configurations", `Means ± standard deviations over seeds, ${isRanked ? "best first; the best of each metric is marked" : "the largest first, since what is better is not known (\`metric\` in the spec)"}.`, all.length > 12 ? el("div", { class: "controls" }, el("label", {}, "Find", find)) : null, list.element);
  }
  function topOf(at) {
    let top = null;
    for (const c of doc.configurations) {
      if (c.results[at] && (!top || (lessIsBetter(doc.metrics[at]) ? meanOf(c, at) < meanOf(top, at) : meanOf(c, at) > meanOf(top, at)))) top = c;
    }
    return top;
  }

  // --- pivot
  if (axes.length > 0 && best) {
    // As many cells as can be told apart; drawn parameters have a value for each configuration.
    const few = axes.filter((axis) => axis.levels.length <= 50);
    const byLevels = [...(few.length > 0 ? few : axes)].sort((a, b) => b.levels.length - a.levels.length);
    const pick = { metric: ranking.name, columns: byLevels[0].name, rows: (byLevels[1] || { name: "" }).name, rest: {} };
    for (const axis of axes) pick.rest[axis.name] = JSON.stringify(best.values[axis.place]);
    const box = el("div", { class: "controls" });
    const one = figure("Heat map of a metric over two parameters", (width) => heatMap(doc, axes, pick, width));
    const redo = (change) => (value) => {
      const was = { ...pick };
      change(value);
      if (pick.rows === pick.columns) [pick.rows, pick.columns] = [was.columns, was.rows];
      controls();
      one.redraw();
    };
    function controls() {
      const rest = axes.filter((axis) => axis.name !== pick.rows && axis.name !== pick.columns);
      box.replaceChildren(choice("Metric", metricChoices, pick.metric, redo((value) => { pick.metric = value; })),
        choice("Columns", axisChoices, pick.columns, redo((value) => { pick.columns = value; })),
        axes.length > 1 ? choice("Rows", axisChoices, pick.rows, redo((value) => { pick.rows = value; })) : "",
        ...rest.map((axis) => {
          const options = axis.levels.map((value) => [JSON.stringify(value), shown(value)]);
          if (doc.configurations.some((c) => c.values[axis.place] === null)) options.push(["null", "does not apply"]);
          return choice(axis.name, options, pick.rest[axis.name], redo((value) => { pick.rest[axis.name] = value; }));
        }));
    }
    controls();
    section("pivot", "Heat map", `Every cell is one configuration, never a mean over several. ${isRanked ? "The better, the lighter; the best has a frame." : "The larger, the lighter."}`, box, one.element);
  }

  // --- curves
  if (ranking && doc.curves.length > 0) {
    const there = new Set(doc.curves.map((trial) => trial.configuration)).size;
    const draw = (id, title, about, first) => {
      const pick = { metric: first, count: Math.min(6, there), single: false };
      const counts = [...new Set([3, 6, 12, 24, there].filter((n) => n <= there))].sort((a, b) => a - b);
      section(id, title, about, chosenFigure(title, (redraw) => [
        choice("Metric", metricChoices, pick.metric, (value) => { pick.metric = value; redraw(); }),
        choice("Configurations", [...counts.map((n) => [n, n === doc.configurations.length ? `all ${n}` : `best ${n}`]), ["spread", "from best to worst"]], pick.count, (value) => { pick.count = value; redraw(); }),
        tick("single trials", false, (value) => { pick.single = value; redraw(); }),
      ], (width) => curves(doc, axes, pick, width)));
    };
    draw("curves", "Learning curves", "Means over seeds with a band of one standard deviation.", ranking.name);
    if (ranking.name !== "rankme" && metricAt(doc, "rankme") >= 0) {
      draw("rankme", "RankMe", "How many dimensions the features use, epoch by epoch; dashed where the method starts.", "rankme");
    }
  }

  // --- metric against metric
  if (doc.metrics.length > 1 && best) {
    const other = metricAt(doc, "rankme") > 0 ? "rankme" : doc.metrics[1].name;
    const draw = (id, title, about, x, y, diagonal) => {
      const pick = { x, y, diagonal, colour: (axes.find((axis) => axis.levels.length <= MOST_GROUPS) || { name: "" }).name };
      section(id, title, about, chosenFigure(title, (redraw) => [
        choice("Across", metricChoices, pick.x, (value) => { pick.x = value; redraw(); }),
        choice("Up", metricChoices, pick.y, (value) => { pick.y = value; redraw(); }),
        choice("Colour", [["", "none"], ...axisChoices], pick.colour, (value) => { pick.colour = value; redraw(); }),
      ], (width) => against(doc, axes, pick, width)));
    };
    draw("against", metricAt(doc, "rankme") > 0 ? "RankMe and the result" : "Metric against metric", "A point a configuration, with deviations over seeds and a fit by least squares.", other, ranking.name, false);
    const shifted = doc.metrics.find((metric) => metric.name !== "top1" && metric.name.endsWith("_top1") && !/^(ema|lp|avg)/.test(metric.name));
    if (shifted && metricAt(doc, "top1") >= 0) {
      draw("shifted", "On shifted data", `How much of top1 is left on ${shifted.name.slice(0, -"_top1".length)}; on the dotted line nothing is lost.`, "top1", shifted.name, true);
    }
  }

  // --- parallel coordinates
  if (axes.length > 1 && best) {
    const pick = { metric: ranking.name };
    section("parallel", "Parallel coordinates", doc.configurations.length > MOST_LINES ? `A line a configuration: the ${isRanked ? "best" : "largest"} ones and a part of the others, ${whole(MOST_LINES)} of ${whole(doc.configurations.length)}. The thick line is the ${isRanked ? "best" : "largest"}.` : `A line a configuration; the ${isRanked ? "better" : "larger"}, the lighter. The thick line is the ${isRanked ? "best" : "largest"}.`,
      chosenFigure("Parallel coordinates", (redraw) => [choice("Metric", metricChoices, pick.metric, (value) => { pick.metric = value; redraw(); })], (width) => parallel(doc, axes, pick, width)));
  }

  // --- what matters
  if (doc.analysis.importance && doc.analysis.effects.length > 0) {
    const pick = { parameter: doc.analysis.effects[0].parameter };
    section("matters", "What matters", "Which parameter explains how much, and what each value adds on average, with 95 % intervals. Formulas: docs/ANALYSIS.md.", el("div", { class: "side" },
      el("div", {}, el("h3", {}, "Share of the variance"), figure("Share of the variance by parameter", () => shares(doc)).element),
      el("div", {}, el("h3", {}, "Main effects"), chosenFigure("Main effects of a parameter", (redraw) => [choice("Parameter", doc.analysis.effects.map((one) => [one.parameter, one.parameter]), pick.parameter, (value) => { pick.parameter = value; redraw(); })], () => effects(doc, pick)))));
  }

  // --- stages
  if (isShared && doc.stages.length > 0) {
    const saved = doc.epochs.unshared - doc.epochs.shared;
    const left = doc.stages_left_out > 0 ? ` ${whole(doc.stages_left_out)} stages are left out.` : "";
    section("stages", "Stage tree", `Trials that agree so far train it once: ${whole(doc.epochs.shared)} epochs instead of ${whole(doc.epochs.unshared)}, ${whole(Math.max(0, saved))} saved. As high as the trials that go through it.${left}`, figure("The stage tree", () => stageTree(doc)).element);
  }

  // --- failures
  if (doc.failures.length > 0) {
    section("failures", "Failures", null, doc.failures.map((failure) => el("div", {},
      el("h3", {}, el("span", { class: "state" }, failure.reason), ` ${counted(failure.count, "trial", "trials")}: ${failure.trials.join(", ")}${failure.count > failure.trials.length ? ", …" : ""}`),
      el("p", { class: "about" }, failure.message),
      failure.log ? el("details", {}, el("summary", {}, "End of the log"), el("pre", {}, failure.log)) : null)),
      doc.failures_left_out > 0 ? el("p", { class: "about" }, `${counted(doc.failures_left_out, "other trial", "other trials")} failed with other messages.`) : null);
  }

  // --- provenance
  const p = doc.provenance;
  const facts = [["sweep", `${doc.sweep} (${doc.name})`], ["made", new Date(doc.made_at).toISOString().replace("T", " ").slice(0, 19) + " UTC"], ["by", `sweep ${doc.version}`],
    ["numbers", `of epoch ${doc.epoch}${doc.selected ? `, where ${doc.selected}` : ""}`], ["folder", p.working_directory], ["changes", p.overrides.join(" ") || "none"], ...p.record];
  section("provenance", "Provenance", null, el("dl", {}, facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    el("details", {}, el("summary", {}, "The spec"), el("pre", {}, p.spec)), p.bases.map(([name, text]) => el("details", {}, el("summary", {}, `Its base ${name}`), el("pre", {}, text))),
    el("details", { ontoggle: (event) => { if (event.target.open && event.target.children.length === 1) event.target.append(hashes()); } }, el("summary", {}, "Configuration hashes and trials")));
  function hashes() {
    return table([{ head: "configuration", cell: (c) => c.hash }, { head: "trials", cell: (c) => c.trials || "–" }, ...axes.map((axis) => ({ head: axis.name, cell: (c) => shown(c.values[axis.place]), sort: (c) => c.values[axis.place] }))], doc.configurations, { first: 25 }).element;
  }
  document.getElementById("footer").textContent = `sweep ${doc.version} · this page is complete: it loads nothing and sends nothing.`;

  // --- where one is
  const seen = new Set();
  const place = new IntersectionObserver((entries) => {
    entries.forEach((entry) => (entry.isIntersecting ? seen.add(entry.target) : seen.delete(entry.target)));
    const first = [...links.keys()].find((element) => seen.has(element));
    links.forEach((link, element) => (element === first ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
  }, { rootMargin: "-110px 0px -55% 0px" });
  links.forEach((_, element) => place.observe(element));
  document.documentElement.dataset.ready = "true";
})();
