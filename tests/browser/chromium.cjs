// Chromium in the three looks in which every page is seen.
"use strict";

const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { chromium } = require("playwright-core");

const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const VIEWS = [
  { name: "light", viewport: { width: 1280, height: 900 }, colorScheme: "light" },
  { name: "dark", viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
  { name: "phone", viewport: { width: 390, height: 844 }, colorScheme: "light", isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
];

/** Calls `look(context, view)` in each look, one after the other; ends the program with what goes wrong. */
async function inEachView(what, look) {
  try {
    for (const view of VIEWS) {
      const profile = fs.mkdtempSync(path.join(os.tmpdir(), "sweep-browser-"));
      const { name, ...options } = view;
      const context = await chromium.launchPersistentContext(profile, { executablePath: "/usr/bin/chromium", headless: true, args: ARGS, ...options });
      try {
        await look(context, view);
      } finally {
        await context.close();
        fs.rmSync(profile, { recursive: true, force: true });
      }
      console.log(`${what}, ${name}: ok`);
    }
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  }
}

const ready = (page) => page.waitForFunction(() => document.documentElement.dataset.ready === "true");

/** Waits until every picture is drawn, which it is once it is seen, and goes back to the top. */
async function drawPictures(page, sections = "main section:not([hidden])") {
  for (const section of await page.locator(sections).all()) await section.scrollIntoViewIfNeeded();
  await page.waitForFunction(() => [...document.querySelectorAll(".figure")].every((figure) => figure.children.length > 0));
  await page.evaluate(() => scrollTo({ top: 0, behavior: "instant" }));
}

module.exports = { inEachView, ready, drawPictures };
