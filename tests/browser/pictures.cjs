// Takes pictures of a report and of the dashboard, to be looked at by a person.
//     node pictures.cjs URL TOKEN REPORT.html FOLDER
// Sweep 1 has ended, some of its trials failed; sweep 2 runs.
"use strict";

const path = require("node:path");
const { drawPictures, inEachView, ready } = require("./chromium.cjs");

const [url, token, report, folder] = process.argv.slice(2);
const PAGES = [["sweeps", "#/"], ["sweep", "#/sweeps/1"], ["trial", "#/sweeps/1/trials/1"], ["running", "#/sweeps/2"], ["workers", "#/workers"]];

inEachView("pictures", async (context, view) => {
  const page = await context.newPage();
  const take = async (name) => {
    await ready(page);
    await drawPictures(page);
    await page.screenshot({ path: path.join(folder, `${name}-${view.name}.png`), fullPage: true });
  };
  await page.goto(`file://${path.resolve(report)}`);
  await take("report");
  await page.goto(`${url}/#token=${token}`);
  await page.locator("#connection[data-state=live]").waitFor();
  for (const [name, hash] of PAGES) {
    await page.evaluate((to) => {
      // Where it is already no page follows.
      if (location.hash === to) return;
      delete document.documentElement.dataset.ready;
      location.hash = to;
    }, hash);
    await ready(page);
    if (name !== "sweeps") await page.locator("main table, main .figure .main-svg").first().waitFor();
    await take(`dashboard-${name}`);
  }
  await page.close();
});
