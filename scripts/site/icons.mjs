/**
 * Renders the PNG icons of the installed page from an SVG.
 *
 *   node icons.mjs DRAWING.svg DIR
 */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";

/** The background colour of the SVG. */
const GROUND = "#0f766e";

/**
 * Returns a maskable icon. Systems crop maskable icons, and only the inner 80% is always visible: the drawing is scaled
 * to that, on a background that fills the icon.
 */
const maskable = (drawing) => `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">
  <rect width="64" height="64" fill="${GROUND}"/>
  <g transform="translate(6.4 6.4) scale(.8)">${drawing}</g>
</svg>`;

const [from, to] = process.argv.slice(2);
if (!from || !to) {
  console.error("usage: node icons.mjs DRAWING.svg DIR");
  process.exit(2);
}
const drawing = await readFile(from, "utf8");
await mkdir(to, { recursive: true });
for (const [name, side, svg] of [["192", 192, drawing], ["512", 512, drawing], ["maskable-512", 512, maskable(drawing)]]) {
  // At 72 dots per inch, a unit of the SVG is a pixel; the SVG is 64 units wide.
  const density = (72 * side) / 64;
  await sharp(Buffer.from(svg), { density }).resize(side, side).png({ compressionLevel: 9 }).toFile(join(to, `${name}.png`));
}
