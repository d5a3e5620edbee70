// All sweeps.

import { get } from "./api.js";
import { counts, fill, meter, pill, section, tile } from "./parts.js";

const FIRST = 50;

export function sweepsPage() {
  const tiles = el("div", { class: "tiles" });
  const body = el("div", {});
  const find = el("input", { type: "search", "aria-label": "Find sweeps", placeholder: "name or number", oninput: () => show() });
  const controls = el("div", { class: "controls" }, el("label", {}, "Find", find));
  const element = el("div", { class: "page" }, el("div", { class: "top" }, el("div", {}, el("h1", { tabindex: -1 }, "Sweeps"))), tiles, section("All sweeps", null, controls, body));
  let all = [];
  let most = FIRST;

  function show() {
    const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = all.filter((sweep) => wanted.every((word) => `${sweep.id} ${sweep.name} ${sweep.state}`.toLowerCase().includes(word)));
    const shown = found.slice(0, most);
    const row = (sweep) => el("tr", {},
      el("td", { class: "number id" }, String(sweep.id)),
      el("td", { class: "name" }, el("a", { href: `#/sweeps/${sweep.id}` }, sweep.name)),
      el("td", {}, pill(sweep.state)),
      el("td", { class: "progress" }, meter(sweep.trials)),
      el("td", { class: "number" }, `${whole(sweep.trials.succeeded)} of ${whole(sweep.trials.total)}`),
      el("td", { class: "legend" }, rest(sweep.trials)),
      el("td", { class: "number priority" }, String(sweep.priority)));
    const head = (text, kind) => el("th", { scope: "col", class: kind }, text);
    fill(body, [shown, found.length], found.length === 0 ? el("p", { class: "empty" }, all.length === 0 ? "No sweep was submitted yet: sweep submit SPEC." : "None is called so.") : [
      el("div", { class: "scroll" }, el("table", { class: "cards" }, el("thead", {}, el("tr", {}, head("id", "number"), head("name"), head("state"), head("progress"), head("done", "number"), head("rest"), head("priority", "number"))), el("tbody", {}, shown.map(row)))),
      found.length > shown.length && el("button", { type: "button", class: "plain more", "data-key": "more", onclick: () => { most += 200; show(); } }, `Show more (${whole(found.length - shown.length)} left)`)]);
    controls.hidden = all.length <= 8;
  }

  return {
    page: "sweeps", title: "Sweeps", element,
    concerns: () => true,
    async refresh(signal) {
      const status = await get("status", signal);
      // What goes on stands first, then the newest.
      const isLive = (sweep) => sweep.trials.queued + sweep.trials.running > 0;
      all = status.sweeps.sort((a, b) => isLive(b) - isLive(a) || b.id - a.id);
      const sum = (of) => all.reduce((n, sweep) => n + of(sweep.trials), 0);
      const trials = { total: sum((t) => t.total), succeeded: sum((t) => t.succeeded), failed: sum((t) => t.failed), cancelled: sum((t) => t.cancelled), running: sum((t) => t.running), queued: sum((t) => t.queued) };
      const slots = status.workers.reduce((n, worker) => n + worker.slots, 0);
      const busy = status.workers.reduce((n, worker) => n + worker.running, 0);
      const ill = status.workers.filter((worker) => worker.problem).length;
      fill(tiles, [trials, slots, busy, ill, all.length],
        tile("", "trials with a result", whole(trials.succeeded), `of ${whole(trials.total)}`, counts({ ...trials, succeeded: 0 }) === "no trials" ? null : counts({ ...trials, succeeded: 0 }), meter(trials)),
        tile("", "sweeps that go on", whole(all.filter(isLive).length), `of ${whole(all.length)}`),
        tile("", "slots busy", whole(busy), `of ${whole(slots)}`, counted(status.workers.length, "worker", "workers")),
        ill > 0 && tile("failed", "workers without jobs", whole(ill), null, "see Workers"),
        trials.failed > 0 && tile("failed", "failed trials", whole(trials.failed)));
      show();
      return { isBusy: trials.running > 0 };
    },
    close() {},
  };
}

function rest(trials) {
  const text = counts({ ...trials, succeeded: 0 });
  return text === "no trials" ? "" : text;
}
