/** Failures during use: unreliable servers, closed tabs, lost devices, refused storage. The next request must work. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { DIST } from "./browser.mjs";
import { LIMIT, SHARDS, generate, load, workshop } from "./module.mjs";
import { readPack, reshard } from "./packs.mjs";
import { mulberry32, printedSeed } from "./random.mjs";
import { watchHeap } from "./watch.mjs";

/** Number of requests of the soak test; `SOAK=200` is a long run. */
const SOAK = Number(process.env.SOAK ?? 60);

const shop = workshop();
const { files } = shop;

/** Asserts that `loaded` never decreases, `total` never changes, and "ready" comes once and last with everything loaded. */
function assertConsistent(events) {
  assert.ok(events.length > 1, `${events.length} events`);
  const total = events[0].total;
  let before = 0;
  events.forEach(({ stage, loaded, total: now }, i) => {
    assert.equal(now, total);
    assert.ok(loaded >= before && loaded <= total, `${loaded} after ${before} of ${total}`);
    before = loaded;
    assert.equal(stage === "ready", i === events.length - 1, `event ${i} of ${events.length} is "${stage}"`);
  });
  assert.equal(before, total);
}

test("ten cuts at random bytes are resumed with If-Range, and progress events stay consistent", { timeout: LIMIT }, async (t) => {
  const random = mulberry32(printedSeed(t));
  const folder = shop.host();
  const paths = [...shop.good.keys()].filter((path) => path.endsWith(".safetensors")).map((path) => `${folder}/${path}`);
  // The engine gives up on a server that keeps cutting a file without progress, so no file is cut more than twice.
  const cuts = new Map();
  const cutAt = [];
  shop.intercept = ({ url, headers, method }, response) => {
    if (!paths.includes(url) || method !== "GET" || cutAt.length >= 10 || cuts.get(url) >= 2) {
      return false;
    }
    const bytes = files.get(url);
    const from = Number(/^bytes=(\d+)-/.exec(headers.range ?? "")?.[1] ?? 0);
    const more = 1 + Math.floor(random() * (bytes.length - from - 1));
    if (from + more >= bytes.length) {
      return false;
    }
    cuts.set(url, (cuts.get(url) ?? 0) + 1);
    cutAt.push(`${url.slice(-28)} at ${from + more}`);
    response.writeHead(from > 0 ? 206 : 200, {
      "Content-Type": "application/octet-stream", "Content-Length": bytes.length - from, ETag: '"one"', "Accept-Ranges": "bytes",
      ...(from > 0 && { "Content-Range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
    });
    response.write(bytes.subarray(from, from + more), () => setTimeout(() => response.destroy(), 100));
    return true;
  };
  const page = await shop.open();
  const start = shop.server.requests.length;
  const result = await load(page, folder);
  t.diagnostic(cutAt.join("; "));
  assert.deepEqual(result, { ok: true, note: null, device: "cpu" });
  assert.equal(cutAt.length, 10);
  const resumed = shop.server.requests.slice(start).filter(({ range }) => range);
  assert.ok(resumed.length > 0 && resumed.every(({ ifRange }) => ifRange === '"one"'), JSON.stringify(resumed));
  assertConsistent(await page.evaluate(() => window.events));
  assert.deepEqual(await generate(page), { ok: true });
  await page.context().close();
});

test("a load waits after too many requests and server errors", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  const answers = [[429, { "Retry-After": "1" }], [500, {}], [503, { "Retry-After": "1" }]];
  const times = [];
  shop.intercept = ({ url }, response) => {
    if (url !== `${folder}/transformer/${shop.names[2]}`) {
      return false;
    }
    times.push(performance.now());
    const [status, headers] = answers.shift() ?? [];
    return status !== undefined && (response.writeHead(status, headers).end(), true);
  };
  const page = await shop.open();
  assert.equal((await load(page, folder)).ok, true);
  assert.equal(times.length, 4);
  assert.ok(times[1] - times[0] > 900 && times[3] - times[2] > 900, "a wait that the host asked for was cut short");
  assertConsistent(await page.evaluate(() => window.events));
  await page.context().close();
});

test("a pack that is replaced during a download is never mixed", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  // The same weights in other shards, which match only their own index.
  const other = reshard(await readPack(join(DIST, "www/models/tabletop")), "transformer", SHARDS + 1);
  shop.intercept = ({ url }) => {
    if (url === `${folder}/transformer/${shop.names[3]}`) {
      for (const path of [...files.keys()].filter((path) => path.startsWith(`${folder}/`))) {
        files.delete(path);
      }
      other.forEach((bytes, path) => files.set(`${folder}/${path}`, bytes));
    }
    return false;
  };
  const page = await shop.open();
  const { ok, code } = await load(page, folder);
  assert.ok(ok || code === "integrity" || code === "network", code);
  shop.intercept = () => false;
  assert.equal((await load(page, folder)).ok, true);
  assert.deepEqual(await generate(page), { ok: true });
  await page.context().close();
});

test("without storage, the model loads and a note tells that it is not cached", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  const page = await shop.open();
  await page.evaluate((url) => window.UniReal.check(url), `${folder}/`);
  await page.workers()[0].evaluate(() => {
    const refuse = () => Promise.reject(new DOMException("not here", "SecurityError"));
    Object.defineProperty(navigator.storage, "getDirectory", { value: refuse });
  });
  const { ok, note } = await load(page, folder);
  assert.equal(ok, true);
  assert.match(note, /cannot store|storage is full/);
  assert.deepEqual(await generate(page), { ok: true });
  await page.context().close();
});

test("two tabs load the same pack at once", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  const context = await shop.browser.newContext();
  const pages = [await shop.open(context), await shop.open(context)];
  const results = await Promise.all(pages.map((page) => load(page, folder)));
  assert.ok(results.every(({ ok }) => ok), JSON.stringify(results));
  for (const page of pages) {
    assert.deepEqual(await generate(page), { ok: true });
  }
  // The cache that both tabs wrote is complete.
  const third = await shop.open(context);
  assert.equal((await load(third, folder)).ok, true);
  await context.close();
});

test("a download resumes where a closed tab left it", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  const path = `${folder}/transformer/${shop.names[0]}`;
  const bytes = files.get(path);
  const half = bytes.length >> 1;
  // The response never ends: the tab is closed while it waits.
  shop.intercept = ({ url, headers }, response) => {
    if (url !== path || headers.range) {
      return false;
    }
    response.writeHead(200, { "Content-Length": bytes.length, ETag: '"one"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream" });
    response.write(bytes.subarray(0, half));
    return true;
  };
  const context = await shop.browser.newContext();
  const page = await shop.open(context);
  load(page, folder).catch(() => {});
  await page.waitForFunction((least) => window.events.at(-1)?.loaded >= least, half, { timeout: 30_000 });
  await page.close();
  files.set(path, bytes);
  const start = shop.server.requests.length;
  shop.intercept = ({ url, headers }, response) => {
    if (url !== path || headers["if-range"] !== '"one"') {
      return false;
    }
    const from = Number(/^bytes=(\d+)-/.exec(headers.range)[1]);
    response.writeHead(206, {
      "Content-Type": "application/octet-stream", ETag: '"one"', "Content-Length": bytes.length - from,
      "Content-Range": `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
    });
    response.end(bytes.subarray(from));
    return true;
  };
  const again = await shop.open(context);
  assert.equal((await load(again, folder)).ok, true);
  const asked = shop.server.requests.slice(start).filter((request) => request.path === path);
  // Bytes are written in pieces of 1 MiB, and the rest of less than a MiB when the worker ends regularly. A tab that is killed loses at
  // most one piece.
  assert.ok(asked.length === 1, JSON.stringify(asked));
  assert.deepEqual(await generate(again), { ok: true });
  await context.close();
});

test("the device is lost during a step, twice", { timeout: LIMIT }, async () => {
  const folder = shop.host();
  const page = await shop.open();
  for (let time = 0; time < 2; time += 1) {
    await page.evaluate((url) => window.UniReal.check(url), `${folder}/`);
    await page.workers().at(-1).evaluate(() => {
      const { requestDevice } = GPUAdapter.prototype;
      GPUAdapter.prototype.requestDevice = async function (...given) {
        return (self.device = await requestDevice.apply(this, given));
      };
    });
    assert.deepEqual(await load(page, folder, "webgpu"), { ok: true, note: null, device: "webgpu" });
    assert.deepEqual(await generate(page), { ok: true });
    const worker = page.workers().at(-1);
    const running = generate(page, { steps: 500 });
    await pause(300);
    await worker.evaluate(() => self.device.destroy());
    const { code, message } = await running;
    assert.equal(code, "device-lost", message);
    // The worker is replaced and loads the cached model.
    assert.deepEqual(await generate(page), { ok: true });
    await page.evaluate(() => window.model.dispose());
  }
  await page.context().close();
});

test(`${SOAK} requests with faults in between leave no memory behind`, { timeout: 4 * LIMIT }, async (t) => {
  const random = mulberry32(printedSeed(t));
  const folder = shop.host();
  const page = await shop.open();
  await page.evaluate((url) => window.UniReal.check(url), `${folder}/`);
  assert.equal((await load(page, folder)).ok, true);
  const sample = await watchHeap(page, `${shop.server.url}www/wasm/unireal.js`);
  const requests = {
    good: () => generate(page, { outputs: 1 + Math.floor(random() * 2) }),
    refused: () => generate(page, { prompt: "IMG3 is not there" }),
    busy: async () => {
      // In one call: two calls may arrive so far apart that the first request has ended.
      const [first, second] = await page.evaluate(() => Promise.all([window.generate(), window.generate()]));
      assert.equal(second.code, "busy");
      return first;
    },
    aborted: () => page.evaluate(async (delay) => {
      const end = new AbortController();
      const running = window.generate({ steps: 50, signal: end.signal });
      setTimeout(() => end.abort(), delay);
      return running;
    }, 20 + random() * 100),
    checked: () => page.evaluate((url) => window.UniReal.check(url).then(({ ok }) => ({ ok })), `${folder}/`),
    missing: () => page.evaluate(() => window.UniReal.check("/nowhere/").then(() => ({ ok: true }), (error) => ({ code: window.code(error) }))),
  };
  const expected = { good: { ok: true }, busy: { ok: true }, checked: { ok: true }, refused: "request", aborted: "AbortError", missing: "network" };
  const kinds = Object.keys(requests);
  let early;
  for (let i = 0; i < SOAK; i += 1) {
    const kind = kinds[Math.floor(random() * kinds.length)];
    const result = await requests[kind]();
    const want = expected[kind];
    typeof want === "string" ? assert.equal(result.code, want, `${kind}: ${result.message}`) : assert.deepEqual(result, want, kind);
    if (i === 19) {
      early = await sample();
    }
  }
  assert.deepEqual(await generate(page), { ok: true });
  const late = await sample();
  t.diagnostic(`after 20: ${JSON.stringify(early)}, after ${SOAK}: ${JSON.stringify(late)}`);
  assert.ok(late.wasm - early.wasm < 2 ** 20 && late.buffers - early.buffers < 2 ** 20);
  await page.context().close();
});
