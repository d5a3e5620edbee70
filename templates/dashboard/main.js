// The page as a whole: where one is, what is fetched when, and what is done when nothing can be fetched.

import { Problem, dropToken, get, hasToken, keepToken, takeTokenFromAddress } from "./api.js";
import { follow } from "./live.js";
import { problemText } from "./parts.js";
import { sweepPage } from "./sweep.js";
import { sweepsPage } from "./sweeps.js";
import { trialPage } from "./trial.js";
import { workersPage } from "./workers.js";

/** Between two refreshes, however much happens; and at least four times what one takes. */
const SHORTEST_BREAK = 1000;
/** Metrics of running jobs make no events. */
const LOOK_ANYWAY = 5000;

const content = document.getElementById("content");
const connection = document.getElementById("connection");
let view = null;
let refreshing = null;
let isDirty = false, lastStart = 0, lastLength = 0, timer = null;
let isFollowing = false, hasGone = false;

themeChanges(redrawAll);

// --- where one is

function pageOf(hash) {
  const parts = hash.replace(/^#\/?/, "").split("/").filter(Boolean);
  const number = (text) => /^[1-9][0-9]{0,17}$/.test(text || "");
  if (parts.length === 0 || (parts[0] === "sweeps" && parts.length === 1)) return sweepsPage();
  if (parts[0] === "workers" && parts.length === 1) return workersPage();
  if (parts[0] === "sweeps" && number(parts[1])) {
    if (parts.length === 2) return sweepPage(parts[1], touch);
    if (parts.length === 4 && parts[2] === "trials" && number(parts[3])) return trialPage(parts[1], parts[3], touch);
  }
  return null;
}

function go() {
  if (takeTokenFromAddress()) start();
  if (!hasToken()) { ask(); return; }
  leave();
  view = pageOf(location.hash);
  delete document.documentElement.dataset.ready;
  for (const link of document.querySelectorAll("nav a")) {
    if (view && link.dataset.page === view.page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!view) {
    content.replaceChildren(el("section", {}, el("h1", { tabindex: -1 }, "There is no such page"), el("p", {}, el("a", { href: "#/" }, "All sweeps"))));
    document.documentElement.dataset.ready = "true";
    return;
  }
  document.title = `${view.title} · sweep`;
  content.replaceChildren(view.element);
  scrollTo(0, 0);
  // Who goes somewhere is told where; who has just come finds the page's begin.
  if (hasGone) view.element.querySelector("h1").focus({ preventScroll: true });
  hasGone = true;
  refresh();
}

function leave() {
  if (refreshing) refreshing.abort();
  refreshing = null;
  clearTimeout(timer);
  timer = null;
  isDirty = false;
  if (view) view.close();
  view = null;
}

// --- what is fetched when

/** Something may be new: the page is refreshed soon, once for all that happens until then. */
function touch() {
  isDirty = true;
  plan(0);
}

function plan(atLeast) {
  if (timer !== null || refreshing || !view || document.hidden) return;
  const due = lastStart + Math.max(SHORTEST_BREAK, 4 * lastLength);
  timer = setTimeout(() => { timer = null; requestAnimationFrame(refresh); }, Math.max(atLeast, due - performance.now()));
}

async function refresh() {
  if (!view || refreshing) return;
  const own = view;
  const stop = new AbortController();
  refreshing = stop;
  isDirty = false;
  lastStart = performance.now();
  let isBusy = false;
  try {
    ({ isBusy } = await own.refresh(stop.signal));
    if (stop.signal.aborted) return;
    document.title = `${own.title} · sweep`;
    trouble(null);
  } catch (problem) {
    if (stop.signal.aborted || problem.name === "AbortError") return;
    if (problem.status === 401) { refuse(); return; }
    if (problem.status === 404) { missing(own, problem); return; }
    trouble(problem);
    isBusy = problem.status === 0 || problem.status >= 500;
    if (!(problem instanceof Problem)) console.error(problem);
  } finally {
    if (refreshing === stop) refreshing = null;
  }
  document.documentElement.dataset.ready = "true";
  lastLength = performance.now() - lastStart;
  if (isDirty) plan(0);
  else if (isBusy) plan(LOOK_ANYWAY);
}

/** What the page is about is not there: nothing of it will ever be filled in. */
function missing(own, problem) {
  const parts = location.hash.split("/");
  leave();
  document.title = `${own.title} · sweep`;
  content.replaceChildren(el("section", {}, el("h1", { tabindex: -1 }, `${own.title} is not here`), el("p", { class: "problem", role: "alert" }, problemText(problem)),
    el("p", {}, el("a", { href: "#/" }, "All sweeps"), ...(parts.length > 3 ? [" · ", el("a", { href: parts.slice(0, 3).join("/") }, `Sweep ${parts[2]}`)] : []))));
  document.documentElement.dataset.ready = "true";
}

function trouble(problem) {
  content.querySelector(":scope > .problem")?.remove();
  if (problem) content.prepend(el("p", { class: "problem", role: "alert" }, problemText(problem)));
}

document.addEventListener("visibilitychange", () => { if (!document.hidden && view) touch(); });

// --- what happens

function said(event) {
  if (!view) return;
  let happened = null;
  try { happened = JSON.parse(event.data); } catch { return; }
  const isReset = event.name === "reset";
  // What was missed may be anything, also what a page otherwise asks for only when it hears of it.
  if (isReset && view.reset) view.reset();
  if (isReset || view.concerns(happened)) {
    // A planned look at running jobs is too late for it.
    clearTimeout(timer);
    timer = null;
    touch();
  }
}

function stands(state) {
  connection.dataset.state = state;
  connection.textContent = { live: "live", lost: "connection lost, trying again", refused: "" }[state];
  content.classList.toggle("stale", state === "lost");
  if (state === "refused") { isFollowing = false; refuse(); }
}

function start() {
  if (isFollowing) return;
  isFollowing = true;
  follow(said, stands);
}

// --- the token

function refuse() {
  dropToken();
  ask("The token was not taken: it is another coordinator's, or was made anew.");
}

function ask(why) {
  leave();
  const input = el("input", { type: "password", id: "token", autocomplete: "off", spellcheck: "false", required: true });
  const said = el("p", { class: "problem", role: "alert", hidden: !why }, why || "");
  const form = el("form", { class: "token" }, el("h1", {}, "Token"),
    el("p", { class: "about" }, "Everything here needs the token of the state folder: the content of ", el("code", {}, ".sweep/token"), ". It stays in this tab."),
    el("label", { for: "token" }, "Token"), input, said, el("button", { type: "submit", class: "plain primary" }, "Open"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const token = input.value.trim();
    // What no header can carry is no token.
    if (!/^[\x21-\x7e]+$/.test(token)) { said.textContent = "This is no token."; said.hidden = false; return; }
    keepToken(token);
    try {
      await get("status");
    } catch (problem) {
      dropToken();
      said.textContent = problem.status === 401 ? "This is not the token." : problemText(problem);
      said.hidden = false;
      input.select();
      return;
    }
    start();
    go();
  });
  content.replaceChildren(el("section", {}, form));
  document.title = "sweep";
  document.documentElement.dataset.ready = "true";
  input.focus();
}

addEventListener("hashchange", go);
takeTokenFromAddress();
if (hasToken()) start();
go();
