// What several pages are made of: states, meters, tables that keep the focus, pages of rows, questions, durations.

import { Problem } from "./api.js";

export const pill = (state) => el("span", { class: `pill ${state}` }, state);

/** Trials by state as a bar; its text says the same. */
export function meter(trials) {
  const part = (n, kind) => (n > 0 ? el("i", { class: kind, style: `width:${(100 * n) / Math.max(1, trials.total)}%` }) : null);
  const text = counts(trials);
  return el("div", { class: "meter", role: "img", "aria-label": text, title: text }, part(trials.succeeded, "good"), part(trials.failed, "bad"), part(trials.cancelled, "stop"), part(trials.running, "run"));
}
export function counts(trials) {
  const parts = ["succeeded", "running", "queued", "failed", "cancelled"].filter((state) => trials[state] > 0).map((state) => `${whole(trials[state])} ${state}`);
  return parts.join(", ") || "no trials";
}

export function duration(seconds) {
  if (!isFinite(seconds)) return "–";
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86_400).toFixed(1)} days`;
}

/** `3 of 200`; a program that declares no stages has one epoch, whatever it reports. */
export const epochs = (epoch, last) => (epoch === 0 ? "–" : last > 1 && epoch <= last ? `${whole(epoch)} of ${whole(last)}` : whole(epoch));

export const gibibytes = (bytes) => `${(bytes / 2 ** 30).toFixed(bytes < 10 * 2 ** 30 ? 1 : 0)}`;

export function section(title, about, ...children) {
  const id = `s-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return el("section", { "aria-labelledby": id }, el("h2", { id }, title), about && el("p", { class: "about" }, about), children);
}

export function tile(kind, name, value, small, note, more) {
  return el("div", { class: `tile ${kind}` }, el("div", { class: "name" }, name), el("div", { class: "value" }, value, small && el("small", {}, ` ${small}`)), note && el("div", { class: "note" }, note), more);
}

/** Puts `children` there unless they are what is there already, and leaves the focus where it was. */
export function fill(element, key, ...children) {
  const text = JSON.stringify(key);
  if (element.dataset.shown === text) return;
  keepFocus(element, () => element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)));
  element.dataset.shown = text;
}

function keepFocus(element, change) {
  const focused = document.activeElement;
  const place = focused && element.contains(focused) ? focused.getAttribute("href") || focused.dataset.key : null;
  change();
  if (!place || element.contains(document.activeElement)) return;
  const again = [...element.querySelectorAll("a, button, [data-key]")].find((one) => (one.getAttribute("href") || one.dataset.key) === place);
  if (again) again.focus({ preventScroll: true });
}

/** A table whose rows come from the server: drawn again only where they differ, or the columns do. */
export function rows(empty) {
  const element = el("div", {});
  let known = null, list = null, last = null;
  return {
    element,
    show(columns, all, caption) {
      const heads = JSON.stringify(columns.map((column) => column.head));
      const data = JSON.stringify(all);
      if (data === last && heads === known) return;
      last = data;
      keepFocus(element, () => {
        if (all.length === 0) {
          known = null;
          element.replaceChildren(el("p", { class: "empty" }, empty));
        } else if (heads !== known) {
          known = heads;
          list = table(columns, all, { first: 500, caption });
          element.replaceChildren(list.element);
        } else list.show(all);
      });
    },
    forget() { last = null; known = null; },
  };
}

/** Buttons that go through pages. `pick` has `offset` and `limit`. */
export function pager(pick, what, changed) {
  const step = (by) => () => { pick.offset = Math.max(0, pick.offset + by * pick.limit); changed(); };
  const back = el("button", { type: "button", class: "plain", onclick: step(-1) }, "← Back");
  const on = el("button", { type: "button", class: "plain", onclick: step(1) }, "Next →");
  const where = el("span", {});
  const element = el("div", { class: "pager" }, back, on, where);
  return {
    element,
    show(total, shown) {
      back.disabled = pick.offset === 0;
      on.disabled = pick.offset + shown >= total;
      element.hidden = total <= pick.limit && pick.offset === 0;
      where.textContent = shown > 0 ? `${whole(pick.offset + 1)}–${whole(pick.offset + shown)} of ${counted(total, ...what)}` : `of ${counted(total, ...what)}`;
    },
  };
}

export function problemText(problem) {
  if (!(problem instanceof Problem)) return String(problem);
  return problem.help ? `${problem.message}: ${problem.help}` : problem.message;
}

/** Asks before something is done, does it, and says what came of it or why it could not be done. */
export function confirmed({ title, text, button, danger, act, done }) {
  const said = el("p", { class: "problem", role: "alert", hidden: true });
  const keep = el("button", { type: "button", class: "plain", onclick: () => dialog.close() }, "Leave it");
  const go = el("button", { type: "button", class: `plain primary ${danger ? "danger" : ""}`, onclick: run }, button);
  const dialog = el("dialog", { "aria-labelledby": "question" }, el("h2", { id: "question" }, title), el("p", {}, text), said, el("div", { class: "actions" }, keep, go));
  async function run() {
    go.disabled = true;
    said.hidden = true;
    try {
      const answer = await act();
      dialog.close();
      say(done(answer));
    } catch (problem) {
      said.textContent = problemText(problem);
      said.hidden = false;
      go.disabled = false;
    }
  }
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  keep.focus();
}

let hide = null;
export function say(text) {
  const element = document.getElementById("said");
  element.textContent = text;
  element.classList.add("shown");
  clearTimeout(hide);
  hide = setTimeout(() => element.classList.remove("shown"), 5000);
}

/** Plotly is large and comes when the first picture is to be drawn. */
let drawing = null;
export function plotly() {
  drawing ??= new Promise((resolve, reject) => {
    const script = el("script", { src: "dashboard/plotly.js" });
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => { drawing = null; reject(new Problem(0, "the pictures can't be drawn: plotly can't be loaded")); });
    document.head.append(script);
  });
  return drawing;
}

export function button(text, kind, onclick) {
  return el("button", { type: "button", class: `plain ${kind || ""}`, onclick, "data-key": text }, text);
}

/** Waits until typing has paused. */
export function afterTyping(act) {
  let timer = null;
  return () => { clearTimeout(timer); timer = setTimeout(act, 250); };
}
