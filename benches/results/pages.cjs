// Times the pages of a large sweep in Chromium: those of a coordinator, each opened anew, and a report.
//     node pages.cjs URL TOKEN REPORT.html    (sweep 1; playwright-core is found through NODE_PATH)
// First paint is the browser's own (first-contentful-paint); `complete` is when all that the page asked for is there; `drawn` is
// when every picture that can be scrolled to is.
"use strict";

const path = require("node:path");
const { chromium } = require("playwright-core");
const { drawPictures, ready } = require("../../tests/browser/chromium.cjs");

const [url, token, report] = process.argv.slice(2);
const FIRST_PAINT = 1.0, DRAWN = 2.0;

const number = (seconds) => seconds.toFixed(2).padStart(8);

async function time(page, what) {
  const begun = Date.now();
  await page.reload();
  await ready(page);
  const complete = (Date.now() - begun) / 1000;
  await drawPictures(page);
  const drawn = (Date.now() - begun) / 1000;
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime / 1000);
  console.log(`${what.padEnd(24)}${number(paint)} ${number(complete)} ${number(drawn)}${paint > FIRST_PAINT || drawn > DRAWN ? "   missed" : ""}`);
}

(async () => {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true, args: ["--no-sandbox", "--disable-gpu"] });
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    console.log(`${"page".padEnd(24)}${"paint".padStart(8)} ${"complete".padStart(8)} ${"drawn".padStart(8)}   target ${FIRST_PAINT} s to first paint, ${DRAWN} s in all`);
    await page.goto(`${url}/#token=${token}`);
    await ready(page);
    for (const [what, hash] of [["list of sweeps", "#/"], ["a sweep", "#/sweeps/1"], ["a trial", "#/sweeps/1/trials/7777"]]) {
      await page.goto(`${url}/${hash}`);
      await time(page, what);
    }
    await page.goto(`file://${path.resolve(report)}`);
    await time(page, "report.html");
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
