// Draws what commands wrote to a terminal as such a terminal shows it.
//     node terminal.cjs FOLDER COLUMNS NAME=FILE …    (each FILE has what was written; FOLDER takes NAME.png)
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { chromium } = require("playwright-core");

const [folder, columns, ...files] = process.argv.slice(2);
const xterm = path.dirname(require.resolve("@xterm/xterm/package.json"));

(async () => {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", headless: true, args: ["--no-sandbox", "--disable-gpu"] });
  try {
    for (const [name, file] of files.map((one) => one.split("="))) {
      const text = fs.readFileSync(file, "utf8").replace(/^Script started.*\r?\n/, "").replace(/\r?\nScript done.*\s*$/, "");
      const page = await browser.newPage({ viewport: { width: 1600, height: 1400 }, deviceScaleFactor: 1.5 });
      await page.setContent("<body style='margin:0;background:#14171c'><div id=terminal style='display:inline-block;padding:14px'></div>");
      await page.addStyleTag({ path: path.join(xterm, "css/xterm.css") });
      await page.addScriptTag({ path: path.join(xterm, "lib/xterm.js") });
      // As many rows as the text takes: it is written once into a tall terminal, and into one that fits.
      const draw = (rows) => page.evaluate(async ([written, cols, rows]) => {
        document.getElementById("terminal").replaceChildren();
        const terminal = new Terminal({ cols, rows, fontFamily: "DejaVu Sans Mono", fontSize: 13, theme: { background: "#14171c", cursor: "#14171c" } });
        terminal.open(document.getElementById("terminal"));
        await new Promise((done) => terminal.write(written, done));
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        const buffer = terminal.buffer.active;
        let used = buffer.length;
        while (used > 1 && !buffer.getLine(used - 1).translateToString(true)) used -= 1;
        return used;
      }, [text, Number(columns), rows]);
      const used = await draw(45);
      // The cursor stands in the line below.
      await draw(used + 1);
      await page.locator("#terminal").screenshot({ path: path.join(folder, `${name}.png`) });
      await page.close();
    }
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
