/** A minimal WebDriver client for Firefox through geckodriver, for the tests of the CPU path. */
import { execFileSync, spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** Time limit of a script in the page in milliseconds. */
const SCRIPT = 300_000;
/** The key of an element's reference in the protocol. */
const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";

function found(names) {
  for (const name of names) {
    try {
      return execFileSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).trim();
    } catch {
      // Try the next name.
    }
  }
  return null;
}

/** Returns a message if Firefox or its driver is not installed, else null. */
export function missing() {
  const parts = [[found(["firefox-esr", "firefox"]), "Firefox"], [found(["geckodriver"]), "geckodriver"]];
  const names = parts.filter(([path]) => !path).map(([, name]) => name);
  return names.length > 0 ? `${names.join(" and ")} is not installed` : null;
}

/** Starts geckodriver. Returns its process and the address that it prints. */
async function drive() {
  const process = spawn(found(["geckodriver"]), ["--port", "0"], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: process.stdout })) {
    const port = /Listening on 127\.0\.0\.1:(\d+)/.exec(line)?.[1];
    if (port) {
      // Drain the log, because an unread pipe would block the driver.
      process.stdout.resume();
      return { process, address: `http://127.0.0.1:${port}` };
    }
  }
  throw new Error("geckodriver ended before it listened");
}

/**
 * Opens a page in a new headless Firefox.
 * @returns {Promise<{ version: string, goto: (url: string) => Promise<void>, evaluate: (act: Function, value?: unknown) => Promise<any>,
 *   click: (find: Function) => Promise<void>, until: (act: Function, value?: unknown) => Promise<any>, close: () => Promise<void> }>}
 *   `evaluate` runs a self-contained function in the page with a serialisable value; `click` clicks the element that a function
 *   returns; `until` waits until a function returns something truthy
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
