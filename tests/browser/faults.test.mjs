/** Faulty servers and packs: each fault returns its error code in time and leaves the cache usable. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DIST, launch } from "./browser.mjs";
import { assemble, index, indexPath, pack, parts, readPack, reshard, unpack, withFile, withJson, withShard } from "./packs.mjs";
import { serve } from "./server.mjs";

/** Time limit of any load in milliseconds. */
const LIMIT = 40_000;
const SHARDS = 12;

/** Files in the server's memory, and its hook for requests. */
const files = new Map();
let intercept = () => false;
let server, browser, page, good, names;
let folders = 0;

before(async () => {
  good = reshard(await readPack(join(DIST, "www/models/tabletop")), "transformer", SHARDS);
  names = Object.keys(index(good, "transformer").metadata.shards);
  server = await serve(DIST, 0, { files, intercept: (request, response) => intercept(request, response) });
  files.set("/blank.html", Buffer.from("<!doctype html><title>blank</title>"));
  browser = await launch({ webgpu: false });
  page = await browser.newPage();
  await page.goto(`${server.url}blank.html`);
  await page.evaluate(async () => {
    const { UniReal, UniRealError } = await import("/www/unireal.js");
    window.load = async (url, steps, limit) => {
      const signal = AbortSignal.timeout(limit);
      try {
        const model = await UniReal.load(url, { device: "cpu", signal });
        const generated = steps > 0 && (await model.generate({ prompt: "remove the red cube", steps, seed: 1, signal }));
        await model.dispose();
        return { images: generated ? generated.images.length : 0 };
      } catch (error) {
        return { code: error instanceof UniRealError ? error.code : error.name, message: error.message };
      }
    };
  });
});

after(async () => {
  await browser?.close();
  await server?.close();
});

/** Serves a pack from a folder of its own, so that the cache of another pack is not used. */
function host(content, folder = `/packs/${(folders += 1)}`) {
  for (const path of files.keys()) {
    if (path.startsWith(`${folder}/`)) {
      files.delete(path);
    }
  }
  for (const [path, bytes] of content) {
    files.set(`${folder}/${path}`, bytes);
  }
  return folder;
}

/** Loads the pack in a folder; with `steps`, generates an image too. */
const loadFrom = (folder, steps = 0) => page.evaluate((given) => window.load(...given), [folder, steps, LIMIT]);

const shardPath = (i) => `transformer/${names[i]}`;

/** Asserts that the pack fails with one of these codes. @returns the folder of the pack */
async function failing(damaged, codes, reason) {
  const folder = host(damaged);
  const { code, message, images } = await loadFrom(folder);
  assert.equal(images, undefined, "the damaged pack loaded");
  assert.ok([codes].flat().includes(code), `${code}: ${message}`);
  assert.match(message, reason);
  return folder;
}

/** Tests a pack with wrong descriptions, of which no shard is requested. */
function refused(title, codes, damage) {
  test(title, { timeout: 2 * LIMIT }, async () => {
    const from = server.requests.length;
    await failing(damage(good), codes, /./);
    assert.deepEqual(server.requests.slice(from).map(({ path }) => path).filter((path) => path.endsWith(".safetensors")), []);
  });
}

/** Tests a pack with wrong shards. Their cached bytes must not affect a later load of the correct pack. */
function fails(title, codes, damage, reason = /./) {
  test(title, { timeout: 3 * LIMIT }, async () => {
    const folder = await failing(damage(good), codes, reason);
    host(good, folder);
    assert.deepEqual(await loadFrom(folder), { images: 0 });
  });
}

/** Tests a pack that matches its index but is not a valid model. */
function nonsense(title, damage) {
  test(title, { timeout: LIMIT }, () => failing(damage(good), "format", /transformer/));
}

test("a pack in many shards loads", { timeout: LIMIT }, async () => {
  assert.deepEqual(await loadFrom(host(good), 1), { images: 1 });
});

// Shards that differ from the index.
fails("a truncated shard", "integrity", (pack) => withFile(pack, shardPath(2), pack.get(shardPath(2)).subarray(0, -7)));
fails("a shard that is longer than the index says", "integrity", (pack) =>
  withFile(pack, shardPath(2), Buffer.concat([pack.get(shardPath(2)), Buffer.alloc(5)])));
fails("an empty shard", ["integrity", "network"], (pack) => withFile(pack, shardPath(2), Buffer.alloc(0)));
fails("one flipped bit", "integrity", (pack) => {
  const bytes = Buffer.from(pack.get(shardPath(5)));
  bytes[bytes.length - 100] ^= 4;
  return withFile(pack, shardPath(5), bytes);
}, /00006/);
fails("two shards in each other's place", "integrity", (pack) =>
  withFile(withFile(pack, shardPath(1), pack.get(shardPath(3))), shardPath(3), pack.get(shardPath(1))));
fails("a missing shard", "network", (pack) => withFile(pack, shardPath(4), null), /404/);

// Invalid indexes.
const indexed = (change) => (pack) => withJson(pack, indexPath("transformer"), change);
const renamed = (name) => indexed(({ metadata: { shards }, weight_map: map }) => {
  shards[name] = shards[names[0]];
  delete shards[names[0]];
  for (const [tensor, shard] of Object.entries(map)) {
    map[tensor] = shard === names[0] ? name : shard;
  }
});
for (const name of ["../transformer/x.safetensors", "..", "/etc/passwd", "a\\b", "http://localhost/x", "", ".hidden", "a\0b", "x".repeat(4000)]) {
  refused(`a shard called ${JSON.stringify(name.slice(0, 30))}`, "format", renamed(name));
}
for (const length of [0, -1, 1.5, 1e30, 2 ** 53, "12", null]) {
  refused(`a shard of ${JSON.stringify(length)} bytes`, "format", indexed(({ metadata: { shards } }) => {
    shards[names[0]].length = length;
  }));
}
refused("an invalid hash", "format", indexed(({ metadata: { shards } }) => {
  shards[names[0]].sha256 = "../".repeat(22).slice(0, 64);
}));
refused("an index without shards", "format", indexed(({ metadata }) => {
  metadata.shards = {};
}));
refused("a tensor in no shard", "format", indexed(({ weight_map: map }) => {
  map[Object.keys(map)[0]] = "nowhere.safetensors";
}));
fails("a tensor that its shard does not hold", "format", indexed(({ weight_map: map }) => {
  map.surprise = names[0];
}));
refused("an unknown encoding", "format", indexed(({ metadata }) => {
  metadata.encoding = "q1";
}));
for (const [title, text] of [["empty", ""], ["half", '{"metadata": {'], ["null", "null"], ["deep", "[".repeat(200_000)], ["not text", Buffer.from([0xff, 0xfe, 0])]]) {
  refused(`an index that is ${title}`, "format", (pack) => withFile(pack, indexPath("transformer"), text));
}
for (const [title, change] of [
  ["no number", (config) => Object.keys(config).forEach((key) => typeof config[key] === "number" && (config[key] = "many"))],
  ["zeros", (config) => Object.keys(config).forEach((key) => typeof config[key] === "number" && (config[key] = 0))],
  ["a billion of everything", (config) => Object.keys(config).forEach((key) => typeof config[key] === "number" && (config[key] = 1e9))],
]) {
  for (const component of ["transformer", "text_encoder", "vae"]) {
    refused(`a ${component} configured with ${title}`, ["format", "memory"], (pack) => withJson(pack, `${component}/config.json`, change));
  }
}

// Shards that match the index but hold invalid data.
const lying = (change) => (pack) => {
  const { header, data } = parts(pack.get(shardPath(0)));
  change(header, Object.keys(header).filter((name) => name !== "__metadata__"), data);
  return withShard(pack, "transformer", names[0], assemble(header, data));
};
nonsense("offsets behind the end", lying((header, [first]) => {
  header[first].data_offsets = [0, 2 ** 52];
}));
nonsense("reversed offsets", lying((header, [first]) => header[first].data_offsets.reverse()));
nonsense("a shape that overflows", lying((header, [first]) => {
  header[first].shape = [2 ** 40, 2 ** 40];
}));
nonsense("a shape with an empty axis", lying((header, [first]) => {
  header[first].shape = [0, ...header[first].shape];
}));
nonsense("another shape of the same size", lying((header, [first]) => {
  header[first].shape = [...header[first].shape, 1];
}));
nonsense("an unsupported type", lying((header, [first]) => {
  header[first].dtype = "I64";
}));
nonsense("a header longer than the file", (pack) => {
  const shard = Buffer.from(pack.get(shardPath(0)));
  shard.writeBigUInt64LE(2n ** 62n);
  return withShard(pack, "transformer", names[0], shard);
});
nonsense("a shard of noise", (pack) =>
  withShard(pack, "transformer", names[0], Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 167) % 251))));

/** Writes NaN into the first tensor that `wanted` selects. */
const poisoned = (component, wanted) => (files) => {
  for (const name of Object.keys(index(files, component).metadata.shards)) {
    const tensors = unpack(Buffer.from(files.get(`${component}/${name}`)));
    const found = [...tensors].find(wanted);
    if (found) {
      const { dtype, bytes } = found[1];
      dtype === "F16" ? bytes.writeUInt16LE(0x7e00) : bytes.writeFloatLE(NaN);
      return withShard(files, component, name, pack(tensors));
    }
  }
  throw new Error(`${component} has no such tensor`);
};
const isScale = ([name]) => name.endsWith(".scales");
test("NaN among the scales", { timeout: 2 * LIMIT }, async (t) => {
  const component = ["transformer", "text_encoder"].find((one) => Object.keys(index(good, one).weight_map).some((name) => name.endsWith(".scales")));
  if (!component) {
    return t.skip("this pack is not quantised");
  }
  const { code, message } = await loadFrom(host(poisoned(component, isScale)(good)));
  assert.equal(code, "format", message);
  assert.match(message, /scales/);
  assert.deepEqual(await loadFrom(host(good)), { images: 0 });
});
fails("NaN among the weights", "format", poisoned("vae", ([name, { dtype }]) => !isScale([name]) && /^F(16|32)$/.test(dtype)), /NaN|finite/);

// Servers that do not serve packs.
test("404, HTML and a cut connection for everything", { timeout: 4 * LIMIT }, async () => {
  const answers = {
    "not there": (response) => response.writeHead(404).end(),
    "a page for everything": (response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><p>Welcome"),
    forbidden: (response) => response.writeHead(403).end(),
    cut: (response) => response.destroy(),
  };
  const folder = host(good);
  for (const [title, answer] of Object.entries(answers)) {
    intercept = ({ url }, response) => url.startsWith(`${folder}/`) && (answer(response), true);
    const { code, message } = await loadFrom(folder);
    intercept = () => false;
    assert.equal(code, "network", `${title}: ${message}`);
  }
  assert.deepEqual(await loadFrom(folder), { images: 0 });
});

/**
 * Sends the first `bytes` of a response, then cuts the connection. Waits until the worker has read them, because a
 * stream that breaks drops unread bytes.
 */
function cut(response, bytes, length, headers = {}) {
  response.writeHead(200, { "Content-Type": "application/octet-stream", "Content-Length": length, ...headers });
  response.write(bytes, () => setTimeout(() => response.destroy(), 500));
  return true;
}

test("a download resumes after a cut connection", { timeout: 2 * LIMIT }, async () => {
  const folder = host(good);
  const path = `${folder}/${shardPath(3)}`;
  const bytes = files.get(path);
  const etag = (await page.evaluate(async (url) => (await fetch(url, { method: "HEAD" })).headers.get("etag"), path));
  let times = 0;
  intercept = ({ url, method }, response) => url === path && method === "GET" && (times += 1) === 1
    && cut(response, bytes.subarray(0, bytes.length >> 1), bytes.length, { ETag: etag, "Accept-Ranges": "bytes" });
  const from = server.requests.length;
  const result = await loadFrom(folder);
  intercept = () => false;
  assert.deepEqual(result, { images: 0 });
  const again = server.requests.slice(from).filter((request) => request.path === path);
  assert.deepEqual(again.map(({ range, ifRange }) => ({ range, ifRange })).slice(0, 2), [
    { range: undefined, ifRange: undefined },
    { range: `bytes=${bytes.length >> 1}-`, ifRange: etag },
  ]);
});

test("a cut connection to a server without ranges", { timeout: 2 * LIMIT }, async () => {
  const folder = host(good);
  const path = `${folder}/${shardPath(3)}`;
  const bytes = files.get(path);
  let times = 0;
  intercept = ({ url }, response) => {
    if (url !== path) {
      return false;
    }
    times += 1;
    if (times === 1) {
      return cut(response, bytes.subarray(0, bytes.length >> 1), bytes.length);
    }
    response.writeHead(200, { "Content-Length": bytes.length }).end(bytes);
    return true;
  };
  const result = await loadFrom(folder);
  intercept = () => false;
  assert.deepEqual(result, { images: 0 });
});

test("a connection that is always cut", { timeout: 2 * LIMIT }, async () => {
  const folder = host(good);
  const path = `${folder}/${shardPath(3)}`;
  intercept = ({ url }, response) => url === path && cut(response, files.get(path).subarray(0, 64), files.get(path).length);
  const { code, message } = await loadFrom(folder);
  intercept = () => false;
  assert.equal(code, "network", message);
  assert.deepEqual(await loadFrom(folder), { images: 0 });
});

test("a damaged cache is repaired from the server", { timeout: 2 * LIMIT }, async () => {
  const folder = host(good);
  assert.deepEqual(await loadFrom(folder), { images: 0 });
  const damaged = await page.evaluate(async () => {
    let count = 0;
    const walk = async (directory) => {
      for await (const entry of directory.values()) {
        if (entry.kind === "directory") {
          await walk(entry);
        } else if (/^[0-9a-f]{64}$/.test(entry.name)) {
          const writable = await entry.createWritable({ keepExistingData: true });
          await writable.write({ type: "write", position: 40, data: new Uint8Array([1, 2, 3]) });
          await writable.close();
          count += 1;
        }
      }
    };
    await walk(await navigator.storage.getDirectory());
    return count;
  });
  assert.ok(damaged >= SHARDS, `${damaged} files were damaged`);
  assert.deepEqual(await loadFrom(folder, 1), { images: 1 });
});
