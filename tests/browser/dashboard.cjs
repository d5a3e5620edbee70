// Looks at the dashboard of `sweep serve` in Chromium: what is there, what changes by itself, what can be done, and that nothing
// but this coordinator is asked.
//     node dashboard.cjs URL TOKEN RESULTS.json SCREENSHOTS
// Sweep 1 has ended, some of its trials failed; sweep 2 has a worker and goes on until the file `go` is there.
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { chromium } = require("playwright-core");

const [url, token, resultsFile, screenshots] = process.argv.slice(2);
const results = JSON.parse(fs.readFileSync(resultsFile, "utf8"));
const NAME = "kd <i>ema</i> <script>window.hacked=1</script>";
const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const VIEWS = [
  { name: "light", viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  { name: "dark", viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  { name: "phone", viewport: { width: 390, height: 844 }, colorScheme: "light", isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
];

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

const ready = (page) => page.waitForFunction(() => document.documentElement.dataset.ready === "true");
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
    // Pictures are drawn once they are seen.
    for (const section of await page.locator("main section:not([hidden])").all()) await section.scrollIntoViewIfNeeded();
    await page.waitForFunction(() => [...document.querySelectorAll(".figure")].every((figure) => figure.children.length > 0));
    await page.evaluate(() => scrollTo({ top: 0, behavior: "instant" }));
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

async function main() {
  for (const view of VIEWS) {
    const profile = fs.mkdtempSync(path.join(os.tmpdir(), "sweep-browser-"));
    const { name, ...options } = view;
    const context = await chromium.launchPersistentContext(profile, { executablePath: "/usr/bin/chromium", headless: true, args: ARGS, ...options });
    try {
      if (name === "light") await stranger(context);
      await look(context, view);
      if (name === "phone") await live(context);
    } finally {
      await context.close();
      fs.rmSync(profile, { recursive: true, force: true });
    }
    console.log(`dashboard, ${name}: ok`);
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
