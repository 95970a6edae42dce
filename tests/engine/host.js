/**
 * Hosts that answer by script, in place of `fetch`. A host is a prefix of addresses with either a list of answers, given in
 * turn, or files, served as a static host does. Other addresses go to the real `fetch`.
 */

/** @typedef {{ status?: number, headers?: Record<string, string>, body?: Uint8Array, then?: "end" | "cut" | "stall" }} Answer */

const hosts = new Map();
const real = globalThis.fetch;

globalThis.fetch = async (url, init) => {
  const prefix = [...hosts.keys()].find((prefix) => url.startsWith(prefix));
  if (prefix === undefined) {
    return real(url, init);
  }
  const host = hosts.get(prefix);
  host.requests.push({ url, headers: init.headers, signal: init.signal });
  const answer = host.answers?.shift() ?? fromFiles(host, url.slice(prefix.length), init.headers);
  if (answer.then === "refuse") {
    throw new TypeError("Failed to fetch");
  }
  const { status = 200, headers = {} } = answer;
  return new Response(stream(answer, init.signal), { status, headers });
};

/** Chunks of 64 KiB, then the end, an error, or silence until the request is given up. */
function stream({ body = new Uint8Array(), then = "end" }, signal) {
  let at = 0;
  return new ReadableStream({
    start(controller) {
      signal?.addEventListener("abort", () => {
        try {
          controller.error(signal.reason);
        } catch {
          // The stream had ended before.
        }
      });
    },
    pull(controller) {
      if (at < body.length) {
        controller.enqueue(body.slice(at, at + 65536));
        at += 65536;
      } else if (then === "end") {
        controller.close();
      } else if (then === "cut") {
        controller.error(new TypeError("network error"));
      } else {
        return new Promise(() => {});
      }
    },
  }, { highWaterMark: 0 });
}

function fromFiles({ files }, path, headers) {
  const body = files?.get(path);
  if (!body) {
    return { status: 404 };
  }
  const etag = `"${path}"`;
  const from = Number(/^bytes=(\d+)-$/.exec(headers.Range ?? "")?.[1] ?? 0);
  return from > 0 && headers["If-Range"] === etag
    ? { status: 206, headers: { etag }, body: body.slice(from) }
    : { status: 200, headers: { etag }, body };
}

/** A host whose answers are added one by one. */
export function script(prefix) {
  hosts.set(prefix, { requests: [], answers: [] });
}

/** The next answer of a scripted host. `headers` are JSON. */
export function answer(prefix, status, headers, body, then) {
  hosts.get(prefix).answers.push({ status, headers: JSON.parse(headers), body: body.slice(), then });
}

/** A file of a static host. */
export function put(prefix, path, body) {
  if (!hosts.has(prefix)) {
    hosts.set(prefix, { requests: [], files: new Map() });
  }
  hosts.get(prefix).files.set(path, body.slice());
}

export function remove(prefix) {
  hosts.get(prefix).files.clear();
}

/** The requests so far, as JSON: `[{ url, range, ifRange, ended }]`. */
export function requests(prefix) {
  return JSON.stringify(hosts.get(prefix).requests.map(({ url, headers, signal }) => ({
    path: url.slice(prefix.length),
    range: headers.Range ?? null,
    if_range: headers["If-Range"] ?? null,
    aborted: signal.aborted,
  })));
}

/** Runs the test's own script and gives its value. */
export function run(source) {
  return new Function(`return (${source})`)();
}

/** An abort signal that fires after so many milliseconds. */
export function abortAfter(milliseconds) {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), milliseconds);
  return controller.signal;
}

/** The names of the files in the folders of the private file system, as JSON. */
export async function kept() {
  const names = [];
  const walk = async (folder) => {
    for await (const [name, entry] of folder.entries()) {
      if (entry.kind === "directory") {
        await walk(entry);
      } else {
        names.push(name);
      }
    }
  };
  await walk(await navigator.storage.getDirectory());
  return JSON.stringify(names.sort());
}

/** Empties the private file system. */
export async function wipe() {
  const root = await navigator.storage.getDirectory();
  for await (const name of root.keys()) {
    await root.removeEntry(name, { recursive: true });
  }
}

async function find(folder, wanted) {
  for await (const [name, entry] of folder.entries()) {
    const found = entry.kind === "directory" ? await find(entry, wanted) : name === wanted ? entry : null;
    if (found) {
      return found;
    }
  }
  return null;
}

/** Overwrites the byte at `at` of a kept file, or cuts the file there. */
export async function damage(name, at, cut) {
  const file = await find(await navigator.storage.getDirectory(), name);
  const access = await file.createSyncAccessHandle();
  if (cut) {
    access.truncate(at);
  } else {
    const byte = new Uint8Array(1);
    access.read(byte, { at });
    byte[0] ^= 255;
    access.write(byte, { at });
  }
  access.close();
}

/** Takes renaming away, as in browsers that do not have it, or gives it back. */
const rename = FileSystemFileHandle.prototype.move;
export function canRename(can) {
  if (can) {
    FileSystemFileHandle.prototype.move = rename;
  } else {
    delete FileSystemFileHandle.prototype.move;
  }
}

/** Makes every write fail as a full disc does, from now on or no longer. */
const write = FileSystemSyncAccessHandle.prototype.write;
export function full(is) {
  FileSystemSyncAccessHandle.prototype.write = is
    ? () => { throw new DOMException("no room", "QuotaExceededError"); }
    : write;
}

/** Holds a kept file as another tab does; the returned function lets it go. */
export async function hold(name) {
  const file = await find(await navigator.storage.getDirectory(), name);
  const access = await file.createSyncAccessHandle();
  return () => access.close();
}
