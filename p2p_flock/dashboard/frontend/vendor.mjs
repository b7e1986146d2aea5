// Copies the files that the page loads from node_modules to ../static/vendor, with their licences. Run by scripts/setup
// after `npm ci`. Each is one ES module without imports, so that no bundler and no import map is needed; where the
// type checker is installed (set-up for tests), each gets a file of types beside it.
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const modules = join(here, "node_modules");
const vendor = join(here, "..", "static", "vendor");

const FILES = [
  ["preact/dist/preact.mjs", "preact.mjs"],
  ["htm/dist/htm.mjs", "htm.mjs"],
  ["uplot/dist/uPlot.esm.js", "uplot.mjs"],
  ["uplot/dist/uPlot.min.css", "uplot.css"],
  ["preact/LICENSE", "preact.LICENSE"],
  ["htm/LICENSE", "htm.LICENSE"],
  ["uplot/LICENSE", "uplot.LICENSE"],
];
const TYPES = {
  preact: 'export * from "../../frontend/node_modules/preact/src/index.js";\n',
  htm: 'export { default } from "../../frontend/node_modules/htm/dist/htm.js";\n',
  uplot: 'export { default } from "../../frontend/node_modules/uplot/dist/uPlot.js";\n',
};

rmSync(vendor, { recursive: true, force: true });
mkdirSync(vendor, { recursive: true });
for (const [from, to] of FILES) copyFileSync(join(modules, from), join(vendor, to));
if (existsSync(join(modules, "typescript"))) {
  for (const [name, text] of Object.entries(TYPES)) writeFileSync(join(vendor, `${name}.d.mts`), text);
}
