// One sweep: how far it is, its best configurations, their curves, its trials, its failures; cancel, retry, pause.

import { get, post } from "./api.js";
import { afterTyping, button, confirmed, counts, duration, epochs, fill, meter, pager, pill, plotly, rows, section, tile } from "./parts.js";

/** Reading all trials takes the coordinator longer than the rest, so that this is asked for less often. */
const SHORTEST_BREAK = 3000;
const CURVES = 6;
/** Configurations that are fetched at a time: for the table's first pages and the pictures. */
const MOST_RANKED = 500;

export function sweepPage(id, touch) {
  const path = `sweeps/${id}`;
  const head = el("div", {}, el("p", { class: "crumbs" }, el("a", { href: "#/" }, "Sweeps"), ` / ${id}`), el("h1", { tabindex: -1, "data-key": "h1" }, `Sweep ${id}`));
  const actions = el("div", { class: "actions" });
  const tiles = el("div", { class: "tiles" }, el("div", { class: "skeleton" }), el("div", { class: "skeleton" }), el("div", { class: "skeleton" }));
  const warnings = el("div", {});

  const ranked = { offset: 0, limit: 15 };
  const best = rows("No configuration has a result yet.");
  const bestPager = pager(ranked, ["configuration", "configurations"], () => { showConfigurations(new AbortController().signal).catch(() => { isStale = true; touch(); }); });
  const configurations = section("Configurations", "Means ± standard deviations over seeds, best first; the numbers of sweep results.", best.element, bestPager.element);

  const pick = { metric: null, count: String(CURVES), single: false };
  const chart = el("div", {});
  const chartControls = el("div", { class: "controls" });
  const curvesSection = section("Learning curves", "Of the best configurations: means over seeds with a band of one standard deviation.", chartControls, chart);
  curvesSection.hidden = true;

  const heatPick = { metric: null, rows: null, columns: null, rest: {} };
  const heatAbout = el("p", { class: "about" });
  const heatControls = el("div", { class: "controls" });
  const heatChart = el("div", {});
  const heatSection = section("Heat map", null, heatAbout, heatControls, heatChart);
  heatSection.hidden = true;

  const wanted = { state: "", find: "", order: "number", offset: 0, limit: 25 };
  const list = rows("No trial is so.");
  const listPager = pager(wanted, ["trial", "trials"], touch);
  const again = () => { wanted.offset = 0; touch(); };
  const find = el("input", { type: "search", placeholder: "lr=0.1, or a word", oninput: afterTyping(() => { wanted.find = find.value.trim(); again(); }) });
  const any = (text, options, name) => choice(text, options, wanted[name], (value) => { wanted[name] = value; again(); });
  const trials = section("Trials", null, el("div", { class: "controls" },
    any("State", [["", "all"], ...["queued", "running", "succeeded", "failed", "cancelled"].map((state) => [state, state])], "state"),
    any("Order", [["number", "by number"], ["newest", "last first"], ["best", "best first"], ["worst", "worst first"]], "order"),
    el("label", {}, "Find", find)), list.element, listPager.element);

  const failures = el("div", {});
  const failureSection = section("Failures", null, failures);
  failureSection.hidden = true;

  const element = el("div", { class: "page" }, el("div", { class: "top" }, head, actions), tiles, warnings, configurations, curvesSection, heatSection, trials, failureSection);

  let isStale = true, lastStart = -Infinity, lastLength = 0;
  let doc = null, picture = null, source = null, curvesKey = null, status = null;
  let heat = null, heatPicture = null, heatKey = null;

  // --- what stands above

  function showHead(sweep, progress, running) {
    status = sweep;
    self.title = sweep.name;
    fill(head, [sweep.name, sweep.state], el("p", { class: "crumbs" }, el("a", { href: "#/" }, "Sweeps"), ` / ${id}`), el("h1", { tabindex: -1, "data-key": "h1" }, sweep.name, pill(sweep.state)));
    const { trials: t } = sweep;
    const isLive = t.queued + t.running > 0;
    fill(actions, [isLive, sweep.state === "paused", t.failed + t.cancelled > 0, t.failed, t.cancelled, t.running, t.queued],
      isLive && (sweep.state === "paused" ? button("Resume", "", resume) : button("Pause", "", pause)),
      t.failed + t.cancelled > 0 && button("Retry", "", retry),
      isLive && button("Cancel", "danger", cancel));
    const unfinished = counts({ ...t, succeeded: 0 });
    const top = progress.best;
    fill(tiles, [t, progress.epochs_done, top, Math.round((progress.seconds_left || 0) / 5), running],
      top && tile("best", `best ${progress.metric.name}`, top.value.toPrecision(5), null, el("a", { href: `#/sweeps/${id}/trials/${top.trial}`, "data-key": "best" }, `trial ${top.trial}`)),
      tile("", "trials with a result", whole(t.succeeded), `of ${whole(t.total)}`, unfinished === "no trials" ? null : unfinished, meter(t)),
      tile("", "epochs trained", whole(progress.epochs_done), `of ${whole(progress.epochs_shared)}`, saved(progress)),
      isLive && progress.seconds_left > 0 && tile("", "left", `about ${duration(progress.seconds_left / Math.max(1, running))}`, null, running > 0 ? `with the ${counted(running, "slot", "slots")} that work on it now` : "for one slot"),
      t.failed > 0 && tile("failed", "failed trials", whole(t.failed), null, progress.failed.map((failed) => failed.reason).slice(0, 3).join(", ")));
  }
  function saved(progress) {
    const less = progress.epochs_unshared - progress.epochs_shared;
    return less > 0 ? `${whole(less)} saved by sharing` : null;
  }

  function showFailures(progress) {
    const recent = progress.recent_failures || [];
    const failed = progress.failed || [];
    failureSection.hidden = failed.length === 0 && recent.length === 0;
    const link = (trial) => el("a", { href: `#/sweeps/${id}/trials/${trial}` }, String(trial));
    const head = (...texts) => el("thead", {}, el("tr", {}, texts.map((text) => el("th", { scope: "col" }, text))));
    const cells = (...all) => el("tr", {}, all.map((cell, place) => el("td", { class: place === all.length - 1 ? "text" : null }, cell)));
    fill(failures, [failed, recent.map((one) => [one.trial, one.reason, one.message, one.is_final])],
      failed.length > 0 && el("div", { class: "scroll" }, el("table", {}, head("reason", "trials", "first", "what it said"), el("tbody", {}, failed.map((one) => cells(el("span", { class: "state" }, one.reason), whole(one.trials), link(one.trial), el("span", { class: "clip" }, one.message)))))),
      recent.length > 0 && el("h3", {}, "Newest attempts that failed"),
      recent.length > 0 && el("div", { class: "scroll" }, el("table", {}, head("trial", "reason", "what becomes of it", "what it said"), el("tbody", {}, recent.map((one) => cells(link(one.trial), el("span", { class: "state" }, one.reason), one.is_final ? "given up" : "tried again", el("span", { class: "clip" }, one.message)))))));
  }

  // --- configurations and curves

  async function showConfigurations(signal) {
    let page = { ...doc, configurations: doc.configurations.slice(ranked.offset, ranked.offset + ranked.limit) };
    // Beyond what is here for the pictures, the rows are asked for.
    if (ranked.offset + ranked.limit > MOST_RANKED) page = await get(`${path}/configurations?offset=${ranked.offset}&limit=${ranked.limit}`, signal);
    if (signal.aborted) return;
    const decimals = page.metrics.map((_, at) => decimalsFor(page.configurations.map((c) => (c.results[at] ? c.results[at].mean : null))));
    const varying = page.parameters.map((name, place) => ({ name, place }));
    const text = (r, at) => r ? [r.mean.toFixed(decimals[at]), r.std === undefined || r.std === null ? null : el("span", { class: "std" }, ` ± ${r.std.toFixed(decimals[at])}`)] : "–";
    // What counts is seen without scrolling there.
    const isNarrow = innerWidth <= 640;
    const top = doc.configurations[0] && doc.configurations[0].results[0];
    const isBest = (c) => top && c.results[0] && c.results[0].mean === top.mean;
    const metrics = page.metrics.map((metric, at) => ({ head: metric.name, number: true, cell: (c) => text(c.results[at], at), mark: (c) => at === 0 && isBest(c) }));
    best.show([
      { head: "rank", number: true, cell: (c) => String(c.rank) },
      ...(isNarrow ? metrics.splice(0, 1) : []),
      ...varying.map(({ name, place }) => ({ head: name, number: page.configurations.every((c) => typeof c.values[place] === "number"), cell: (c) => shown(c.values[place]) })),
      ...metrics,
      { head: "seeds", number: true, cell: (c) => (c.n === c.trials.length ? String(c.n) : `${c.n} of ${c.trials.length}`) },
      { head: "trials", cell: (c) => c.trials.slice(0, 5).map((one, i) => [i ? ", " : "", el("a", { href: `#/sweeps/${id}/trials/${one.trial}` }, String(one.trial))]).concat(c.trials.length > 5 ? " …" : []) },
    ], page.configurations);
    bestPager.show(page.total, page.configurations.length);
    fill(warnings, page.warnings, page.warnings.map((warning) => el("p", { class: "warning" }, warning)));
  }

  /** What figures.js draws curves of: the shape of a report's document. */
  function asDocument(trials) {
    const place = new Map();
    doc.configurations.forEach((c, at) => c.trials.forEach((one) => place.set(one.trial, [at, one.seed])));
    const reported = trials.map((trial) => {
      const [configuration, seed] = place.get(trial.trial);
      const curves = Object.fromEntries(Object.entries(trial.metrics).map(([name, curve]) => [name, [curve.epochs, curve.values]]));
      return { trial: trial.trial, configuration, seed, curves };
    });
    return { name: status.name, parameters: doc.parameters, metrics: doc.metrics, configurations: doc.configurations.map((c) => ({ values: c.values, start: null })), curves: reported };
  }

  async function showCurves(signal) {
    const chosen = doc.configurations.slice(0, Number(pick.count));
    const numbers = chosen.flatMap((c) => c.trials.filter((one) => one.state !== "queued").slice(0, 20).map((one) => one.trial));
    if (doc.metrics.length === 0 || numbers.length === 0) { curvesSection.hidden = true; return; }
    const [{ trials }] = await Promise.all([get(`${path}/curves?trials=${numbers.join(",")}&points=512`, signal), plotly()]);
    if (signal.aborted) return;
    const names = doc.metrics.map((metric) => metric.name).filter((name) => trials.some((trial) => trial.metrics[name]));
    if (names.length === 0) { curvesSection.hidden = true; return; }
    curvesSection.hidden = false;
    if (!names.includes(pick.metric)) pick.metric = names[0];
    const redraw = () => picture && picture.redraw();
    fill(chartControls, [names], choice("Metric", names.map((name) => [name, name]), pick.metric, (value) => { pick.metric = value; redraw(); }),
      choice("Configurations", [["3", "best 3"], ["6", "best 6"], ["12", "best 12"]], pick.count, (value) => { pick.count = value; showCurves(new AbortController().signal).catch(touch); }),
      tick("Single trials", pick.single, (value) => { pick.single = value; redraw(); }));
    const key = JSON.stringify([trials, doc.configurations.map((c) => c.hash), pick.count]);
    if (key === curvesKey) return;
    curvesKey = key;
    const drawn = asDocument(trials);
    source = { document: drawn, axes: axesOf(drawn) };
    if (!picture) {
      picture = figure("Learning curves of the best configurations", (width) => curves(source.document, source.axes, pick, width));
      chart.replaceChildren(picture.element);
    } else redraw();
  }

  // --- a metric over two parameters

  async function showHeat(signal) {
    if (doc.total < 2 || doc.parameters.length === 0 || doc.metrics.length === 0) return;
    await plotly();
    const all = doc;
    const key = JSON.stringify(all.configurations);
    if (signal.aborted || key === heatKey) return;
    heatKey = key;
    const numbers = (c) => c.trials.map((one) => one.trial).join(", ");
    const results = (c) => c.results.map((r) => (r ? [r.mean, r.std ?? null, r.n] : null));
    const document = { parameters: all.parameters, metrics: all.metrics, configurations: all.configurations.map((c) => ({ values: c.values, results: results(c), trials: numbers(c) })) };
    const axes = axesOf(document).sort((a, b) => b.levels.length - a.levels.length);
    const top = document.configurations[0];
    heatSection.hidden = axes.length === 0 || !top || !top.results[0];
    if (heatSection.hidden) return;
    heat = { document, axes };
    if (!axes.some((axis) => axis.name === heatPick.columns)) {
      Object.assign(heatPick, { metric: all.metrics[0].name, columns: axes[0].name, rows: axes[1] ? axes[1].name : "" });
    }
    for (const axis of axes) heatPick.rest[axis.name] = JSON.stringify(top.values[axis.place]);
    heatAbout.textContent = [axes.length > 2 ? "All other parameters as in the best configuration." : "Means over seeds.", all.total > MOST_RANKED ? `Of the best ${MOST_RANKED} of ${whole(all.total)} configurations.` : null].filter(Boolean).join(" ");
    fill(heatControls, [axes.map((axis) => axis.name), all.metrics, heatPick], heatChoices(axes, all.metrics));
    if (!heatPicture) {
      heatPicture = figure("A metric over two parameters", (width) => heatMap(heat.document, heat.axes, heatPick, width));
      heatChart.replaceChildren(heatPicture.element);
    } else heatPicture.redraw();
  }
  function heatChoices(axes, metrics) {
    const names = axes.map((axis) => [axis.name, axis.name]);
    const set = (name) => (value) => {
      const was = heatPick[name];
      heatPick[name] = value;
      // The same parameter can't be on both sides: they change places.
      const other = { rows: "columns", columns: "rows" }[name];
      if (other && heatPick[other] === value) heatPick[other] = was;
      fill(heatControls, [axes.map((axis) => axis.name), metrics, heatPick], heatChoices(axes, metrics));
      heatPicture.redraw();
    };
    return [choice("Metric", metrics.map((metric) => [metric.name, metric.name]), heatPick.metric, set("metric")),
      axes.length > 1 && choice("Columns", names, heatPick.columns, set("columns")), axes.length > 1 && choice("Rows", names, heatPick.rows, set("rows"))];
  }

  // --- trials

  function showTrials(page) {
    const metric = page.metric && page.metric.name;
    const decimals = decimalsFor(page.trials.map((trial) => trial.value ?? null));
    const one = (trial) => el("a", { href: `#/sweeps/${id}/trials/${trial.trial}` }, String(trial.trial));
    list.show([
      { head: "trial", number: true, cell: one },
      { head: "state", cell: (trial) => pill(trial.state) },
      ...(metric ? [{ head: metric, number: true, cell: (trial) => (trial.value === undefined ? "–" : trial.value.toFixed(decimals)) }] : []),
      { head: "epoch", number: true, cell: (trial) => (trial.state === "running" ? epochs(trial.epoch, trial.last_epoch) : trial.epoch > 0 ? whole(trial.epoch) : "–") },
      ...page.swept.map((name) => ({ head: name, number: page.trials.every((trial) => typeof trial.parameters[name] === "number"), cell: (trial) => shown(trial.parameters[name]) })),
      { head: "seed", number: true, cell: (trial) => String(trial.seed) },
      ...(page.trials.some((trial) => trial.reason) ? [{ head: "failure", long: true, cell: (trial) => (trial.reason ? el("span", { class: "clip" }, el("span", { class: "state" }, trial.reason), ` ${trial.message || ""}`) : "") }] : []),
    ], page.trials);
    listPager.show(page.total, page.trials.length);
  }

  // --- what people do

  const left = () => status.trials.queued + status.trials.running;
  function cancel() {
    confirmed({ title: `Cancel sweep ${id}?`, text: `${counted(left(), "trial has", "trials have")} not ended; those that run are stopped within a heartbeat. Results stay.`, button: "Cancel the sweep", danger: true,
      act: () => post(`${path}/cancel`, {}), done: (answer) => { touch(); return `${counted(answer.trials, "trial", "trials")} cancelled${answer.kept ? `; ${whole(answer.kept)} go on, since others need them` : ""}`; } });
  }
  function retry() {
    const { failed, cancelled } = status.trials;
    confirmed({ title: `Retry sweep ${id}?`, text: `What failed (${whole(failed)}) or was cancelled (${whole(cancelled)}) is queued again, from the last checkpoint where there is one.`, button: "Retry", act: () => post(`${path}/retry`, {}),
      done: (answer) => { touch(); return `${counted(answer.jobs, "job was", "jobs were")} queued again`; } });
  }
  function pause() {
    confirmed({ title: `Pause sweep ${id}?`, text: "No more of its trials are begun; those that run go on.", button: "Pause", act: () => post(`${path}/pause`), done: () => { touch(); return "Paused"; } });
  }
  function resume() {
    confirmed({ title: `Resume sweep ${id}?`, text: `${counted(left(), "trial waits", "trials wait")} to go on.`, button: "Resume", act: () => post(`${path}/resume`), done: () => { touch(); return "Resumed"; } });
  }

  const self = {
    page: "sweeps", title: `Sweep ${id}`, element,
    concerns(event) {
      const own = String(event.id ?? event.sweep ?? "") === id && ["sweep_changed", "trials_ended"].includes(event.type);
      if (own && event.type === "trials_ended") isStale = true;
      return own;
    },
    reset() { isStale = true; },
    async refresh(signal) {
      const query = new URLSearchParams({ order: wanted.order, offset: wanted.offset, limit: wanted.limit });
      if (wanted.state) query.set("state", wanted.state);
      if (wanted.find) query.set("find", wanted.find);
      const [all, progress, page] = await Promise.all([get("status", signal), get(`${path}/progress`, signal), get(`${path}/trials?${query}`, signal)]);
      if (signal.aborted) return { isBusy: false };
      const sweep = all.sweeps.find((one) => String(one.id) === id);
      const running = all.running.filter((job) => String(job.sweep) === id).length;
      showHead(sweep, progress, running);
      showTrials(page);
      showFailures(progress);
      const now = performance.now();
      const isBusy = sweep.trials.running > 0;
      const isFirst = doc === null;
      if (isFirst || ((isStale || isBusy) && now - lastStart > Math.max(SHORTEST_BREAK, 10 * lastLength))) {
        isStale = false;
        lastStart = now;
        // It loads while the numbers are on their way. Where it can't be loaded, whoever draws says so.
        if (isFirst && sweep.trials.succeeded > 0) plotly().catch(() => {});
        const found = await get(`${path}/configurations?limit=${MOST_RANKED}`, signal);
        if (signal.aborted) return { isBusy };
        lastLength = performance.now() - lastStart;
        doc = found;
        await showConfigurations(signal);
        await showCurves(signal);
        await showHeat(signal);
      }
      return { isBusy: isBusy || isStale };
    },
    close() { [picture, heatPicture].forEach((one) => one && one.forget()); },
  };
  return self;
}
