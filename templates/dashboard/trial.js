// One trial: why it is where it is, its curves, its parameters, what was tried, and what it printed.

import { Problem, get, post } from "./api.js";
import { button, confirmed, duration, fill, pill, plotly, rows, section } from "./parts.js";

/** The end of a long log is what counts; more than this is a file's business. */
const LONGEST_LOG = 200_000;
const MOST_PARTS = 300;

export function trialPage(sweep, trial, touch) {
  const path = `sweeps/${sweep}/trials/${trial}`;
  const crumbs = (name) => el("p", { class: "crumbs" }, el("a", { href: "#/" }, "Sweeps"), " / ", el("a", { href: `#/sweeps/${sweep}` }, name), ` / trial ${trial}`);
  const head = el("div", {}, crumbs(`sweep ${sweep}`), el("h1", { tabindex: -1, "data-key": "h1" }, `Trial ${trial}`));
  const actions = el("div", { class: "actions" });
  const causes = el("ul", { class: "causes" });
  const grid = el("div", { class: "figures" });
  const curvesSection = section("Curves", null, grid);
  curvesSection.hidden = true;
  const parameters = el("dl", { class: "parameters" });
  const tried = rows("It was not begun yet.");
  const text = el("pre", { class: "log", tabindex: 0, "aria-label": "Log" });
  const about = el("p", { class: "about" });
  const logSection = section("Log", null, about, text);
  const element = el("div", { class: "page" }, el("div", { class: "top" }, head, actions), section("State", null, causes), curvesSection,
    section("Attempts", null, tried.element), logSection, section("Parameters", "As it is run, defaults filled in; those that the sweep varies stand first.", parameters));

  const figures = new Map();
  const reported = { metrics: {} };
  const log = { chosen: null, name: null, offset: 0, text: "", isCut: false };
  let swept = [], metric = null, state = null;

  function draw(name) {
    const curve = reported.metrics[name];
    if (!curve) return "Nothing was reported.";
    const points = curve.epochs.length;
    return {
      data: [{ type: "scatter", mode: points > 60 ? "lines" : "lines+markers", x: curve.epochs, y: curve.values, line: { color: COLOURS[0], width: 2 }, marker: { size: 5 }, hoverinfo: "text", hovertext: curve.epochs.map((epoch, i) => `epoch ${epoch}: ${curve.values[i]}`) }],
      layout: { height: 230, showlegend: false, margin: { l: 48, r: 8, t: 8, b: 38 }, xaxis: { title: { text: "epoch" }, rangemode: points > 1 ? "normal" : "tozero" } },
      numbers: { columns: ["epoch", name], rows: curve.epochs.map((epoch, i) => [epoch, curve.values[i]]) },
    };
  }

  async function showCurves(metrics) {
    const order = (name) => (metric && name === metric.name ? 0 : 1);
    const names = Object.keys(metrics).sort((a, b) => order(a) - order(b) || (a < b ? -1 : 1)).slice(0, 24);
    curvesSection.hidden = names.length === 0;
    if (names.length === 0) return;
    await plotly();
    const before = reported.metrics;
    reported.metrics = metrics;
    for (const name of names) {
      if (!figures.has(name)) {
        const one = figure(`${name} over the epochs`, () => draw(name));
        figures.set(name, one);
        grid.append(el("div", {}, el("h3", {}, name), one.element));
      } else if (JSON.stringify(before[name]) !== JSON.stringify(metrics[name])) figures.get(name).redraw();
    }
  }

  function showHead(found, explanation, name) {
    state = found.state;
    fill(head, [state, name], crumbs(name), el("h1", { tabindex: -1, "data-key": "h1" }, `Trial ${trial}`, pill(state)), el("p", { class: "crumbs" }, `seed ${found.seed}`));
    const isLive = state === "queued" || state === "running";
    fill(actions, [state], isLive ? button("Cancel", "danger", cancel) : state !== "succeeded" && button("Retry", "", retry));
    fill(causes, explanation.causes, explanation.causes.map((cause) => el("li", {}, cause.what, cause.help && el("small", {}, cause.help))));
    const own = Object.entries(found.parameters);
    const first = [...swept.filter((one) => one in found.parameters).map((one) => [one, found.parameters[one]]), ...own.filter(([one]) => !swept.includes(one))];
    fill(parameters, first, first.flatMap(([one, value]) => [el("dt", { class: swept.includes(one) && "swept" }, one), el("dd", {}, shown(value))]));
  }

  function showAttempts(attempts) {
    const how = (outcome) => (outcome.startsWith("failed:") ? el("span", { class: "state" }, outcome.slice(7)) : outcome === "completed" ? pill("succeeded") : pill(outcome));
    tried.show([
      { head: "job", number: true, cell: (one) => String(one.job) },
      { head: "epochs", cell: (one) => (one.first_epoch === one.last_epoch ? String(one.last_epoch) : `${one.first_epoch}–${one.last_epoch}`) },
      { head: "attempt", number: true, cell: (one) => String(one.attempt) },
      { head: "how it ended", cell: (one) => how(one.outcome) },
      { head: "took", number: true, cell: (one) => duration(one.seconds) },
      { head: "worker", cell: (one) => `${one.worker} on ${one.host}` },
      ...(attempts.some((one) => one.message) ? [{ head: "what it said", long: true, cell: (one) => one.message || "" }] : []),
      { head: "", cell: (one) => el("button", { type: "button", class: "plain", "data-key": `log-${one.job}-${one.attempt}`, onclick: () => choose(one) }, "Log") },
    ], [...attempts].reverse().map((one) => ({ ...one, began_seconds_ago: 0, log_tail: null, seconds: one.outcome === "running" ? Math.round(one.seconds / 10) * 10 : one.seconds })));
  }

  // --- the log

  function choose(attempt) {
    log.chosen = attempt;
    touch();
    logSection.scrollIntoView({ block: "nearest" });
  }

  /** Reads on where it had read to, of the attempt that was chosen or else of the newest. */
  async function showLog(attempts, signal) {
    const attempt = log.chosen || attempts[attempts.length - 1];
    if (!attempt) { about.textContent = "Nothing was begun, so that nothing was printed."; text.hidden = true; return; }
    const name = `job=${attempt.job}&attempt=${attempt.attempt}`;
    if (log.name !== name) Object.assign(log, { name, offset: 0, text: "", isCut: false });
    const isAtEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 20;
    let part = null;
    for (let parts = 0; parts < MOST_PARTS; parts += 1) {
      part = await get(`${path}/log?${name}&offset=${log.offset}`, signal);
      log.text += part.text;
      log.offset = part.next_offset;
      if (log.text.length > LONGEST_LOG) { log.text = log.text.slice(-LONGEST_LOG); log.isCut = true; }
      if (part.text === "") break;
    }
    const { extent, file_name: file } = part.attempt;
    about.textContent = [`Job ${attempt.job}, attempt ${attempt.attempt}, on ${attempt.host}`, { tail: "the end of it, which came with the failure", nothing: "nothing was printed so far, or it did not come here" }[extent], log.isCut && `the last ${whole(LONGEST_LOG)} characters; all of it is in logs/${file}`].filter(Boolean).join(" · ");
    text.hidden = log.text === "";
    if (text.textContent === log.text) return;
    text.textContent = log.text;
    if (isAtEnd) text.scrollTop = text.scrollHeight;
  }

  function cancel() {
    confirmed({ title: `Cancel trial ${trial}?`, text: state === "running" ? "It runs; it is stopped within a heartbeat." : "It has not begun, and will not.", button: "Cancel the trial", danger: true,
      act: () => post(`sweeps/${sweep}/cancel`, { trials: [Number(trial)] }), done: (answer) => { touch(); return answer.kept ? "It goes on: others need the same job." : "Cancelled"; } });
  }
  function retry() {
    confirmed({ title: `Retry trial ${trial}?`, text: "It is queued again, and goes on from its last checkpoint where there is one.", button: "Retry",
      act: () => post(`sweeps/${sweep}/retry`, { trials: [Number(trial)] }), done: (answer) => { touch(); return `${counted(answer.jobs, "job was", "jobs were")} queued again`; } });
  }

  let name = `sweep ${sweep}`;
  const self = {
    page: "sweeps", title: `Trial ${trial} of sweep ${sweep}`, element,
    concerns: (event) => String(event.id ?? event.sweep ?? "") === sweep && ["sweep_changed", "trials_ended"].includes(event.type),
    async refresh(signal) {
      if (swept.length === 0) {
        const [page, status] = await Promise.all([get(`sweeps/${sweep}/trials?limit=1`, signal), get("status", signal)]);
        ({ swept } = page);
        metric = page.metric || null;
        const found = status.sweeps.find((one) => String(one.id) === sweep);
        if (found) name = found.name;
      }
      const [found, explanation, curves] = await Promise.all([get(`${path}/attempts`, signal), get(`${path}/explanation`, signal), get(`sweeps/${sweep}/curves?trials=${trial}&points=1024`, signal)]);
      if (signal.aborted) return { isBusy: false };
      showHead(found, explanation, name);
      showAttempts(found.attempts);
      // A log that can't be read hides nothing else.
      await showLog(found.attempts, signal).catch((problem) => {
        if (!(problem instanceof Problem) || problem.status === 401) throw problem;
        about.textContent = problem.message;
      });
      if (signal.aborted) return { isBusy: false };
      const own = curves.trials[0];
      await showCurves(own ? own.metrics : {});
      return { isBusy: found.state === "running" };
    },
    close() { figures.forEach((one) => one.forget()); },
  };
  return self;
}
