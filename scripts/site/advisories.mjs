/** Reads the output of `npm audit --json` for a folder. Fails if a package has a high or critical vulnerability. */
import { text } from "node:stream/consumers";

const [folder] = process.argv.slice(2);
const { metadata, error, message } = JSON.parse((await text(process.stdin)) || "{}");
const counts = metadata?.vulnerabilities;
if (!counts) {
  console.log(`NOT CHECKED: the advisories of ${folder}'s packages are not available: ${error?.summary || message || "no answer"}`);
} else {
  console.log(`${folder}: ${counts.total} known vulnerabilities, ${counts.critical} critical, ${counts.high} high`);
  process.exitCode = counts.critical + counts.high > 0 ? 1 : 0;
}
