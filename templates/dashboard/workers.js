// Workers: what they do, what their nodes do, and why some take no jobs.

import { get } from "./api.js";
import { duration, epochs, fill, gibibytes, rows, section, tile } from "./parts.js";

export function workersPage() {
  const tiles = el("div", { class: "tiles" });
  const problems = el("div", {});
  const list = rows("No worker is there: sweep worker starts one.");
  const jobs = rows("Nothing runs.");
  jobs.element.className = "narrow";
  const element = el("div", { class: "page" }, el("div", { class: "top" }, el("div", {}, el("h1", { tabindex: -1 }, "Workers"))), tiles, problems, section("Workers", null, list.element), section("Running", "Jobs that are leased now.", jobs.element));
  const share = (used, total) => el("div", {}, `${gibibytes(used)} of ${gibibytes(total)} GiB`, bar(used / total));
  const bar = (part) => el("div", { class: "meter", "aria-hidden": true }, el("i", { class: part > 0.92 ? "bad" : "run", style: `width:${100 * Math.min(1, part)}%` }));
  const load = (worker) => worker.node || {};
  const columns = [
    { head: "worker", number: true, cell: (w) => String(w.id), sort: (w) => w.id },
    { head: "host", cell: (w) => w.host, sort: (w) => w.host, long: true },
    { head: "health", cell: (w) => el("span", { class: `pill ${w.problem ? "failed" : "succeeded"}` }, w.problem ? "takes no jobs" : "ok") },
    { head: "busy", number: true, cell: (w) => `${w.running} of ${w.slots}`, sort: (w) => w.running },
    { head: "load", number: true, cell: (w) => (load(w).load === undefined ? "–" : load(w).load.toFixed(1)), sort: (w) => load(w).load ?? null },
    { head: "memory", cell: (w) => (load(w).memory_total_bytes ? share(load(w).memory_used_bytes || 0, load(w).memory_total_bytes) : "–") },
    { head: "GPUs", cell: (w) => ((load(w).gpus || []).length === 0 ? "–" : load(w).gpus.map((gpu) => el("div", { title: gpu.name }, gpu.utilisation_percent === undefined ? "" : `${gpu.utilisation_percent} %, `, share(gpu.memory_used_bytes, gpu.memory_total_bytes)))) },
    { head: "Slurm job", cell: (w) => (w.slurm ? String(w.slurm.array_job ? `${w.slurm.array_job}_${w.slurm.array_task}` : w.slurm.job) : "–") },
    { head: "last seen", number: true, cell: (w) => `${duration(w.last_seen_seconds)} ago`, sort: (w) => w.last_seen_seconds },
  ];
  const jobColumns = [
    { head: "sweep", number: true, cell: (job) => el("a", { href: `#/sweeps/${job.sweep}` }, String(job.sweep)) },
    { head: "trial", number: true, cell: (job) => el("a", { href: `#/sweeps/${job.sweep}/trials/${job.trial}` }, String(job.trial)) },
    { head: "worker", number: true, cell: (job) => String(job.worker) },
    { head: "epoch", number: true, cell: (job) => epochs(job.epoch, job.last_epoch) },
    { head: "metric", number: true, cell: (job) => (job.metric === null || job.metric === undefined ? "–" : job.metric.toPrecision(4)) },
  ];
  const MOST_JOBS = 200;
  return {
    page: "workers", title: "Workers", element,
    concerns: () => true,
    async refresh(signal) {
      const { workers, running } = await get("status", signal);
      const slots = workers.reduce((n, worker) => n + worker.slots, 0);
      const busy = workers.reduce((n, worker) => n + worker.running, 0);
      const ill = workers.filter((worker) => worker.problem);
      fill(tiles, [workers.length, slots, busy, ill.length], tile("", "workers", whole(workers.length)), tile("", "slots busy", whole(busy), `of ${whole(slots)}`), ill.length > 0 && tile("failed", "take no jobs", whole(ill.length)));
      fill(problems, ill.map((worker) => [worker.id, worker.problem]), ill.map((worker) => el("p", { class: "warning" }, `Worker ${worker.id} on ${worker.host} takes no jobs: ${worker.problem}`)));
      // Seconds change all the time; tens are enough.
      list.show(columns, workers.map((worker) => ({ ...worker, last_seen_seconds: worker.last_seen_seconds < 10 ? Math.round(worker.last_seen_seconds) : Math.round(worker.last_seen_seconds / 10) * 10 })));
      jobs.show(jobColumns, running.slice(0, MOST_JOBS), running.length > MOST_JOBS ? `The first ${MOST_JOBS} of ${whole(running.length)}.` : null);
      return { isBusy: workers.length > 0 };
    },
    close() {},
  };
}
