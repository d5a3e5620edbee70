// Looks at the dashboard of `sweep serve` in Chromium: what is there, what changes by itself, what can be done, and that nothing
// but this coordinator is asked.
//     node dashboard.cjs SWEEP COORDINATOR-PID URL TOKEN RESULTS.json SCREENSHOTS    (in the project's folder)
// Sweep 1 has ended, some of its trials failed; sweep 2 has a worker and goes on until the file `go` is there. The coordinator is
// killed and started anew by the program SWEEP.
"use strict";

const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { drawPictures, inEachView, ready } = require("./chromium.cjs");

const [sweep, coordinatorProcess, url, token, resultsFile, screenshots] = process.argv.slice(2);
const results = JSON.parse(fs.readFileSync(resultsFile, "utf8"));
const NAME = "kd <i>ema</i> <script>window.hacked=1</script>";

/** A page whose complaints and requests are noted. `isRefused`: what is refused or cut off on purpose is no complaint. */
async function open(context, address, isRefused) {
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    const text = message.text();
    if (["error", "warning"].includes(message.type()) && !(isRefused && text.startsWith("Failed to load resource"))) complaints.push(text);
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    const asked = request.url();
    if (asked.startsWith("data:") || asked.startsWith("blob:")) return;
    if (!asked.startsWith(`${url}/`)) complaints.push(`it asks ${asked}`);
    if (asked.split("#")[0].includes(token)) complaints.push("the token is in an address");
  });
  await page.goto(address);
  await ready(page);
  return { page, complaints };
}

async function go(page, hash) {
  await page.evaluate((to) => { delete document.documentElement.dataset.ready; location.hash = to; }, hash);
  await ready(page);
}
async function fits(page, what) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${what}: nothing sticks out sideways (${wide} px)`);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator("main img, main i:not(.meter i), main b, main u, main em").count(), 0, `${what}: no value became markup`);
}

async function api(pathname, body) {
  const response = await fetch(`${url}/v1/${pathname}`, { method: body === undefined ? "GET" : "POST", headers: { authorization: `Bearer ${token}`, "content-type": "application/json" }, body: body === undefined ? undefined : JSON.stringify(body) });
  assert.ok(response.ok, `${pathname}: ${response.status}`);
  return response.json();
}

/** Every page, in each look. */
async function look(context, view) {
  const { page, complaints } = await open(context, `${url}/#token=${token}`);
  assert.equal(await page.evaluate(() => location.href), `${url}/#/`, "the token is taken out of the address");
  assert.equal(await page.locator("html").getAttribute("data-theme"), view.colorScheme);
  const shot = async (name) => {
    await fits(page, name);
    await drawPictures(page);
    await page.screenshot({ path: path.join(screenshots, `dashboard-${name}-${view.name}.png`), fullPage: true });
  };
  await page.locator("#connection[data-state=live]").waitFor();
  await shot("sweeps");
  assert.ok((await page.locator("main").textContent()).includes(NAME));
  await go(page, "#/sweeps/1");
  await page.locator(".figure").first().scrollIntoViewIfNeeded();
  await page.locator(".figure .main-svg").first().waitFor();
  await shot("sweep");
  await go(page, "#/sweeps/1/trials/1");
  await page.locator(".figure").first().scrollIntoViewIfNeeded();
  await page.locator(".figure .main-svg").first().waitFor();
  await shot("trial");
  await go(page, "#/workers");
  await page.locator("main table").first().waitFor();
  await shot("workers");
  if (view.name === "light") await use(page);
  assert.deepEqual(complaints, [], "no console message");
  await page.close();
}

/** What somebody does who looks at what has ended. */
async function use(page) {
  // By keyboard: from the list into the sweep.
  await go(page, "#/");
  await page.locator("td a", { hasText: "kd" }).focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => location.hash === "#/sweeps/1");
  await ready(page);
  assert.equal(await page.evaluate(() => document.activeElement.closest("main") !== null), true, "the focus follows");

  // The numbers are those of `sweep results`.
  const best = results.configurations[0];
  const metric = results.metric?.name ?? "top1";
  const cells = await page.locator("section", { has: page.locator("h2", { hasText: "Configurations" }) }).locator("tbody tr").first().locator("td").allTextContents();
  const expected = `${best.mean[metric].toFixed(2)} ± ${best.std[metric].toFixed(2)}`;
  assert.ok(cells.includes(expected), `${cells} has ${expected}`);

  // Trials: by state, by value, page by page.
  const trials = page.locator("section", { has: page.locator("h2", { hasText: /^Trials$/ }) });
  const rows = trials.locator("tbody tr");
  assert.equal(await rows.count(), 25);
  await trials.getByRole("button", { name: /Next/ }).click();
  await page.waitForFunction(() => document.querySelector("main").textContent.includes("26–50 of 81 trials"));
  await trials.locator("select").first().selectOption("failed");
  await page.waitForFunction(() => [...document.querySelectorAll("section")].some((one) => /^Trials/.test(one.textContent) && one.querySelectorAll("tbody tr").length === 3));
  assert.deepEqual(await rows.locator(".pill").allTextContents(), ["failed", "failed", "failed"]);
  await trials.locator("select").first().selectOption("");
  await trials.locator("input").fill("loss_weight=0.9 sgf");
  await page.waitForFunction(() => [...document.querySelectorAll("section")].some((one) => /^Trials/.test(one.textContent) && one.querySelectorAll("tbody tr").length === 9));
  await trials.locator("input").fill("nothing-is-so");
  await trials.getByText("No trial is so.").waitFor();

  // A trial that failed: why, and what it printed.
  const failed = (await api("sweeps/1/trials?state=failed&limit=1")).trials[0].trial;
  await go(page, `#/sweeps/1/trials/${failed}`);
  assert.ok((await page.locator("pre.log").textContent()).includes("the loss is <b>not</b> finite </pre><script>window.hacked=1</script>"), "a log is text");
  assert.ok((await page.locator("main").textContent()).includes("exit"));
  await fits(page, "failed trial");
}

/** What changes by itself, and what can be done. */
async function live(context) {
  const { page, complaints } = await open(context, `${url}/#token=${token}`, true);
  // A sweep that is submitted meanwhile appears.
  const spec = "name: appears\ncommand: [/bin/true]\nparameters: {x: [1, 2]}\n";
  const made = await api("sweeps", { spec, source_name: "appears.yaml", overrides: [], working_directory: os.tmpdir() });
  await page.locator("td a", { hasText: "appears" }).waitFor();

  // It is paused, resumed and cancelled, after a question that can be declined.
  await go(page, `#/sweeps/${made.sweep}`);
  const state = (text) => page.locator("h1 .pill", { hasText: text }).waitFor();
  await page.getByRole("button", { name: "Pause" }).click();
  await page.locator("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("dialog").waitFor({ state: "detached" });
  const asked = (name) => page.locator("dialog").getByRole("button", { name });
  await page.getByRole("button", { name: "Pause" }).click();
  await asked("Pause").click();
  await state("paused");
  await page.getByRole("button", { name: "Resume" }).click();
  await asked("Resume").click();
  await page.getByRole("button", { name: "Pause" }).waitFor();
  // What the coordinator refuses is said in its words: somebody else was quicker.
  await page.getByRole("button", { name: "Cancel" }).click();
  await api(`sweeps/${made.sweep}/cancel`, {});
  await asked("Cancel the sweep").click();
  await page.locator("dialog .problem").waitFor();
  assert.ok((await page.locator("dialog .problem").textContent()).includes(`sweep ${made.sweep} has nothing to cancel`));
  await asked("Leave it").click();
  await state("cancelled");
  await page.getByRole("button", { name: "Retry" }).click();
  await asked("Retry").click();
  await state("queued");

  // The running sweep: its curves grow, and it ends without a reload.
  await go(page, "#/sweeps/2");
  await page.getByText("live & <u>kicking</u>").first().waitFor();
  await state("running");
  const trial = (await api("sweeps/2/trials?state=running&limit=1")).trials[0].trial;
  await go(page, `#/sweeps/2/trials/${trial}`);
  await page.waitForFunction(() => document.querySelector(".figure")?.data?.[0].x.length === 2);
  fs.writeFileSync("go", "");
  await page.waitForFunction(() => document.querySelector(".figure")?.data?.[0].x.length === 4);
  await state("succeeded");
  await page.waitForFunction(() => document.querySelector("pre.log").textContent.includes("epoch 4 <em>done</em>"));

  // What there is not, is said.
  await go(page, "#/sweeps/99");
  assert.match(await page.locator("h1").textContent(), /Sweep 99 is not here/);
  assert.equal(await page.locator(".skeleton").count(), 0, "nothing looks as if it were about to come");
  await go(page, "#/sweeps/1/trials/9999");
  assert.match(await page.locator("h1").textContent(), /Trial 9999 of sweep 1 is not here/);
  await page.getByRole("link", { name: "Sweep 1", exact: true }).click();
  await page.waitForFunction(() => location.hash === "#/sweeps/1");
  await go(page, "#/sweeps/99");
  await page.getByText("there is no sweep 99").waitFor();

  // Cut off, and back.
  await page.context().setOffline(true);
  await page.evaluate(() => dispatchEvent(new Event("offline")));
  await page.context().setOffline(false);
  await page.locator("#connection[data-state=live]").waitFor();

  // Many events are some few refreshes.
  await go(page, "#/");
  const refreshes = await page.evaluate(async () => {
    let asked = 0;
    const fetched = window.fetch;
    window.fetch = (...all) => { asked += /status$/.test(String(all[0])); return fetched(...all); };
    document.dispatchEvent(new Event("visibilitychange"));
    for (let i = 0; i < 1000; i += 1) document.dispatchEvent(new Event("visibilitychange"));
    await new Promise((resolve) => { const wait = () => (asked > 0 ? resolve() : requestAnimationFrame(wait)); wait(); });
    window.fetch = fetched;
    return asked;
  });
  assert.ok(refreshes <= 2, `${refreshes} refreshes`);
  assert.deepEqual(complaints, [], "no console message");
  await page.close();
}

/** What this script started: ended with it. */
const started = [];
function start(...args) {
  const child = spawn(sweep, args, { stdio: ["ignore", fs.openSync("browser.log", "a"), fs.openSync("browser.log", "a")] });
  started.push(child);
  return child;
}

/** The coordinator that answers at `url`: killed without a word, and another one in its place. */
const coordinator = { pid: Number(coordinatorProcess) };
const kill = () => process.kill(coordinator.pid, "SIGKILL");
async function startAgain() {
  // On the port of the last time.
  coordinator.pid = start("serve").pid;
  const deadline = Date.now() + 60_000;
  for (;;) {
    try { await api("status"); return; } catch (problem) { assert.ok(Date.now() < deadline, `it does not come back: ${problem}`); }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Waits for an event, as any follower would. */
async function hear(isIt) {
  const stop = new AbortController();
  const stream = await fetch(`${url}/v1/events`, { headers: { authorization: `Bearer ${token}` }, signal: stop.signal });
  let text = "";
  for await (const part of stream.body.pipeThrough(new TextDecoderStream())) {
    text += part;
    const whole = text.slice(0, text.lastIndexOf("\n\n") + 1);
    if (whole.split("\n").some((line) => line.startsWith("data:") && isIt(JSON.parse(line.slice(5))))) break;
  }
  stop.abort();
}

/** The coordinator dies under an open page, and another one takes its place. */
async function restart(context) {
  const spec = `name: survives\ncommand: [python3, live.py]\nmetric: {name: top1, goal: maximize}\nparameters: {lr: [0.2, 0.02], go: again}\n`;
  const { sweep: id } = await api("sweeps", { spec, source_name: "survives.yaml", overrides: [], working_directory: process.cwd() });
  start("worker", "--sweep", String(id), "--cpu-slots", "2");
  const { page, complaints } = await open(context, `${url}/#token=${token}`, true);
  await page.evaluate(() => { window.isTheSame = true; });
  const connection = (state) => page.locator(`#connection[data-state=${state}]`).waitFor();
  const state = (text) => page.locator("h1 .pill", { hasText: text }).waitFor();
  const trials = page.locator("section", { has: page.locator("h2", { hasText: /^Trials$/ }) }).locator("tbody tr");
  await go(page, `#/sweeps/${id}`);
  await state("running");
  await page.waitForFunction(() => /running.*running/s.test([...document.querySelectorAll("section")].find((one) => /^Trials/.test(one.textContent))?.textContent ?? ""));

  // Trials that end afterwards appear, by themselves and once.
  kill();
  await connection("lost");
  await startAgain();
  await connection("live");
  fs.writeFileSync("again", "");
  await state("succeeded");
  assert.deepEqual(await trials.locator(".pill").allTextContents(), ["succeeded", "succeeded"]);
  const table = await page.locator("section", { has: page.locator("h2", { hasText: "Configurations" }) }).locator("tbody tr").count();
  assert.equal(table, 2, "no configuration stands there twice");

  // What happened before the page is back is no event for it: the new process says that all has to be loaded anew. Nothing of
  // this sweep runs, so that nothing else makes the page look, and its means are asked for only when a trial has ended.
  const { sweep: missed } = await api("sweeps", { spec: spec.replace("survives", "missed").replace("[0.2, 0.02]", "[0.3]"), source_name: "missed.yaml", overrides: [], working_directory: process.cwd() });
  await go(page, `#/sweeps/${missed}`);
  await state("queued");
  const means = page.locator("section", { has: page.locator("h2", { hasText: "Configurations" }) }).locator("tbody");
  await means.getByText("0 of 1").waitFor();
  await context.setOffline(true);
  kill();
  await connection("lost");
  await startAgain();
  const told = hear((event) => event.type === "trials_ended" && event.sweep === missed);
  start("worker", "--sweep", String(missed), "--cpu-slots", "1");
  await told;
  await context.setOffline(false);
  await state("succeeded");
  await means.getByText("90.30").waitFor();
  const { sweeps } = await api("status");

  await go(page, "#/");
  await page.waitForFunction((count) => document.querySelectorAll("main tbody tr").length === count, sweeps.length);
  await api("sweeps", { spec: spec.replace("survives", "afterwards"), source_name: "a.yaml", overrides: [], working_directory: process.cwd() });
  await page.locator("td a", { hasText: "afterwards" }).waitFor();
  assert.equal(await page.locator("main tbody tr").count(), sweeps.length + 1, "each sweep once");
  assert.equal(await page.evaluate(() => window.isTheSame), true, "the page was never loaded again");
  assert.deepEqual(complaints, [], "no console message");
  await page.close();
}

/** Without the token nothing is shown, and a wrong one is none. */
async function stranger(context) {
  const { page, complaints } = await open(context, `${url}/`, true);
  await page.locator("form.token").waitFor();
  assert.ok(!(await page.content()).includes("kd"));
  await page.locator("#token").fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByText("This is not the token.").waitFor();
  await page.locator("#token").fill(token);
  await page.keyboard.press("Enter");
  await page.locator("td a", { hasText: "kd" }).waitFor();
  assert.ok(!(await page.evaluate(() => location.href)).includes(token));
  await page.reload();
  await page.locator("td a", { hasText: "kd" }).waitFor();
  assert.deepEqual(complaints, []);
  await page.close();
  const head = await fetch(`${url}/`);
  const policy = head.headers.get("content-security-policy");
  assert.ok(policy.includes("default-src 'none'") && policy.includes("frame-ancestors 'none'") && !/script-src[^;]*unsafe/.test(policy), policy);
  assert.equal(head.headers.get("referrer-policy"), "no-referrer");
  assert.equal(head.headers.get("x-content-type-options"), "nosniff");
}

inEachView("dashboard", async (context, view) => {
  if (view.name === "light") await stranger(context);
  await look(context, view);
  if (view.name !== "phone") return;
  await live(context);
  await restart(context);
}).finally(() => started.forEach((child) => child.kill()));
