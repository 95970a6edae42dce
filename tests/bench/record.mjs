/**
 * Writes what a part of `scripts/bench` measured into docs/BENCHMARKS.md: `node record.mjs PART < LOG`. The section of that part is
 * replaced by the tables and lists of the log, with date, machine and command.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import os from "node:os";

const FILE = new URL("../../docs/BENCHMARKS.md", import.meta.url);

const part = process.argv[2];
const lines = readFileSync(0, "utf8").split("\n");
// Tables and lists; JSON lines and the output of test runners are left out.
const measured = lines.filter((line) => /^(\||- )/.test(line)).map((line, i, all) => {
  const startsTable = line.startsWith("|") && !all[i - 1]?.startsWith("|");
  return startsTable && i > 0 ? `\n${line}` : line;
});
if (measured.length === 0) {
  throw new Error(`the log of "${part}" holds no table`);
}
const git = (...args) => execFileSync("git", args, { encoding: "utf8" }).trim();
const cpu = `${os.cpus()[0]?.model ?? "unknown CPU"}, ${os.cpus().length} cores`;
const origin = `Measured ${new Date().toISOString().slice(0, 10)} at ${git("rev-parse", "--short", "HEAD")} on ${cpu}: \`scripts/bench ${part}\``;

const [head, ...sections] = readFileSync(FILE, "utf8").split(/^(?=## )/m);
const at = sections.findIndex((section) => section.startsWith(`## ${part}\n`));
// The paragraph below the title says what the part compares, and stays.
const about = (sections[at] ?? "").split("\n\n")[1] ?? "";
const section = `${[`## ${part}`, about, origin, measured.join("\n")].filter(Boolean).join("\n\n")}\n\n`;
sections.splice(at < 0 ? sections.length : at, at < 0 ? 0 : 1, section);
writeFileSync(FILE, `${head}${sections.join("")}`.trimEnd() + "\n");
