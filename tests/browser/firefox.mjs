/** Firefox by geckodriver, in the W3C's WebDriver protocol: as much of a browser as the tests of the CPU path need. */
import { execFileSync, spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** Milliseconds that a script in the page may take. */
const SCRIPT = 300_000;
/** The key of an element's reference in the protocol. */
const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";

function found(names) {
  for (const name of names) {
    try {
      return execFileSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).trim();
    } catch {
      // The next name.
    }
  }
  return null;
}

/** What of Firefox and its driver is missing here, in words; null where both are there. */
export function missing() {
  const parts = [[found(["firefox-esr", "firefox"]), "Firefox"], [found(["geckodriver"]), "geckodriver"]];
  const names = parts.filter(([path]) => !path).map(([, name]) => name);
  return names.length > 0 ? `${names.join(" and ")} is not installed` : null;
}

/** The driver's process and the address that it prints. */
async function drive() {
  const process = spawn(found(["geckodriver"]), ["--port", "0"], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: process.stdout })) {
    const port = /Listening on 127\.0\.0\.1:(\d+)/.exec(line)?.[1];
    if (port) {
      // Its log goes on; unread, it would fill the pipe.
      process.stdout.resume();
      return { process, address: `http://127.0.0.1:${port}` };
    }
  }
  throw new Error("geckodriver ended before it listened");
}

/**
 * A page in a new Firefox without a window.
 * @returns {Promise<{ version: string, goto: (url: string) => Promise<void>, evaluate: (act: Function, value?: unknown) => Promise<any>,
 *   click: (find: Function) => Promise<void>, until: (act: Function, value?: unknown) => Promise<any>, close: () => Promise<void> }>}
 *   `evaluate` runs a function that needs nothing of here in the page, with one value that is plain data; `click` does what a
 *   person does to the element that a function finds; `until` waits for a function to return something true
 */
export async function launchFirefox() {
  const { process, address } = await drive();
  async function call(method, path, body) {
    const response = await fetch(`${address}${path}`, { method, headers: { "Content-Type": "application/json" }, body: body && JSON.stringify(body) });
    const { value } = await response.json();
    if (value?.error) {
      throw new Error(`${value.error}: ${value.message}`);
    }
    return value;
  }
  try {
    const options = { binary: found(["firefox-esr", "firefox"]), args: ["-headless"] };
    const { sessionId, capabilities } = await call("POST", "/session", { capabilities: { alwaysMatch: { "moz:firefoxOptions": options } } });
    const session = (method, path, body) => call(method, `/session/${sessionId}${path}`, body);
    await session("POST", "/timeouts", { script: SCRIPT, pageLoad: 60_000 });
    const script = (text, args) => session("POST", "/execute/sync", { script: text, args });
    const evaluate = (act, value = null) => script(`return (${act})(arguments[0])`, [value]);
    return {
      version: capabilities.browserVersion,
      goto: (url) => session("POST", "/url", { url }),
      evaluate,
      async click(find) {
        const element = await evaluate(find);
        await session("POST", `/element/${element[ELEMENT]}/click`, {});
      },
      async until(act, value) {
        const end = Date.now() + SCRIPT;
        for (;;) {
          const result = await evaluate(act, value);
          if (result) {
            return result;
          }
          if (Date.now() > end) {
            throw new Error(`not after ${SCRIPT / 1000} s: ${act}`);
          }
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
      },
      async close() {
        await session("DELETE", "").catch(() => {});
        process.kill();
      },
    };
  } catch (error) {
    process.kill();
    throw error;
  }
}
