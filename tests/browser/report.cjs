// Looks at a report in Chromium: what is there, what can be chosen, nothing that loads, complains or runs what it should show.
//     node report.cjs REPORT.html SCREENSHOTS UNFINISHED.html    (the last one is of a sweep without a result)
"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { drawPictures, inEachView, ready } = require("./chromium.cjs");

const [file, screenshots, unfinished] = process.argv.slice(2);
const url = `file://${path.resolve(file)}`;
const SECTIONS = ["summary", "configurations", "pivot", "curves", "rankme", "against", "shifted", "parallel", "matters", "stages", "failures", "provenance"];

/** Runs in the page: how the numbers of the heat map stand out from their cells, as WCAG 2.1 has it, by what Plotly was given. */
function contrastsOfNumbers() {
  const [map, numbers] = document.querySelector("#pivot .figure")._fullData;
  const part = (colour, at) => parseInt(colour.slice(1 + 2 * at, 3 + 2 * at), 16);
  const linear = (value) => (value <= 0.03928 * 255 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = (colour) => 0.2126 * linear(colour[0]) + 0.7152 * linear(colour[1]) + 0.0722 * linear(colour[2]);
  const cell = (z) => {
    let place = (z - map.zmin) / (map.zmax - map.zmin);
    if (map.reversescale) place = 1 - place;
    const above = map.colorscale.findIndex(([at]) => at >= place);
    if (above <= 0) return [0, 1, 2].map((at) => part(map.colorscale[0][1], at));
    const [[from, low], [to, high]] = [map.colorscale[above - 1], map.colorscale[above]];
    return [0, 1, 2].map((at) => part(low, at) + ((part(high, at) - part(low, at)) * (place - from)) / (to - from));
  };
  return Array.from(numbers.x, (x, at) => {
    const [one, other] = [luminance(cell(map.z[numbers.y[at]][x])), luminance([0, 1, 2].map((i) => part(numbers.textfont.color[at], i)))];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  });
}

async function look(context, view) {
  const page = await context.newPage();
  const complaints = [], requests = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(url);
  await ready(page);
  await drawPictures(page, "main section");

  const sections = await page.locator("main section").evaluateAll((all) => all.map((one) => one.id));
  assert.deepEqual(sections, SECTIONS, "every section is there, in order");
  assert.equal(await page.locator("html").getAttribute("data-theme"), view.colorScheme);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `nothing sticks out sideways (${wide} px)`);

  // What has markup in it is shown as it is written, and nothing of it runs.
  assert.equal(await page.locator("h1").textContent(), "kd <i>ema</i> <script>window.hacked=1</script>");
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator("main img, main i:not(.meter i), main b").count(), 0, "no value became markup");
  const texts = await page.locator("#configurations").textContent();
  assert.ok(texts.includes("<b>s</b>") && texts.includes("sgf & co") && texts.includes("<i>gap</i>"), texts.slice(0, 400));
  assert.ok((await page.locator("#pivot").innerHTML()).includes("&lt;"), "in pictures too");

  if (view.name === "light") await use(page);
  assert.deepEqual(complaints, [], "no console message");
  assert.deepEqual(requests.filter((one) => !one.startsWith("file:") && !one.startsWith("data:") && !one.startsWith("blob:")), [], "nothing is loaded");
  await page.screenshot({ path: path.join(screenshots, `report-${view.name}.png`), fullPage: true });
  await page.close();
}

/** What a reader does. */
async function use(page) {
  // The table: sorted by a column, searched, continued.
  const rows = page.locator("#configurations tbody tr");
  assert.equal(await rows.count(), 12);
  const first = await rows.first().textContent();
  await page.locator("#configurations th button", { hasText: "top1" }).first().click();
  assert.notEqual(await rows.first().textContent(), first, "sorted the other way round");
  await page.locator("#configurations input").fill("loss_weight=0.5 sgf");
  assert.equal(await rows.count(), 3);
  await page.locator("#configurations input").fill("");
  await page.getByRole("button", { name: /Show more/ }).first().click();
  assert.equal(await rows.count(), 27);

  // The heat map: another metric and other parameters.
  await page.locator("#pivot select").first().selectOption("rankme");
  await page.locator("#pivot select").nth(1).selectOption("mask_ratio");
  await page.waitForFunction(() => document.querySelector("#pivot .figure").layout.xaxis.title.text === "mask_ratio");
  const cells = await page.evaluate(() => document.querySelector("#pivot .figure").data[0].z.flat().filter((z) => z !== null).length);
  const contrasts = await page.evaluate(contrastsOfNumbers);
  assert.equal(contrasts.length, cells, "each cell has its number");
  assert.ok(Math.min(...contrasts) >= 4.5, `numbers can be read on their cells: ${Math.min(...contrasts)} to 1`);
  assert.equal(cells, 9);
  await page.locator("#pivot summary").click();
  await page.locator("#pivot tbody tr").nth(8).waitFor();
  assert.equal(await page.locator("#pivot tbody tr").count(), 9, "its numbers as a table");

  // Curves: single trials, more configurations.
  const traces = () => page.evaluate(() => document.querySelector("#curves .figure").data.length);
  const before = await traces();
  await page.locator("#curves input[type=checkbox]").check();
  assert.ok((await traces()) > before, "single trials are lines of their own");
  await page.locator("#curves select").nth(1).selectOption("12");
  await page.waitForFunction(() => document.querySelector("#curves .figure").data.length > 36);

  // By keyboard: skip the head, reach a button, switch the theme.
  await page.keyboard.press("Home");
  await page.evaluate(() => document.activeElement.blur());
  await page.locator("#theme").focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("html").getAttribute("data-theme"), "light");
  await page.locator("nav a", { hasText: "Failures" }).focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => location.hash === "#failures");
  await page.locator("#failures summary").first().click();
  assert.ok((await page.locator("#failures pre").first().textContent()).includes("</pre><script>"), "a log is text");
  await page.evaluate(() => { history.replaceState(null, "", location.pathname); scrollTo({ top: 0, behavior: "instant" }); });
}

/** Of a sweep that has reports but no result there is less to see, and nothing breaks. */
async function lookAtUnfinished(context) {
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(`file://${path.resolve(unfinished)}`);
  await ready(page);
  const sections = await page.locator("main section").evaluateAll((all) => all.map((one) => one.id));
  assert.deepEqual(sections, ["summary", "configurations", "failures", "provenance"]);
  assert.equal(await page.locator("#failures h3").count(), 1, "what fails for one reason is one failure");
  assert.deepEqual(complaints, [], "no console message");
  await page.close();
}

const size = fs.statSync(file).size;
assert.ok(size < 20e6, `${size} bytes`);
inEachView("report", async (context, view) => {
  await look(context, view);
  if (view.name !== "light") return;
  await lookAtUnfinished(context);
  const page = await context.newPage();
  await page.goto(url);
  await ready(page);
  await page.pdf({ path: path.join(screenshots, "report.pdf"), format: "A4", printBackground: true });
});
