/** Measures the engine's worker from outside: wasm memory and ArrayBuffers over DevTools' protocol, and buffers on the device. */

/** Opens a DevTools session to a page's worker. @param {import("playwright-core").Page} page */
async function devtools(page) {
  const session = await page.context().newCDPSession(page);
  const attached = new Promise((resolve) => session.once("Target.attachedToTarget", resolve));
  await session.send("Target.setAutoAttach", { autoAttach: true, waitForDebuggerOnStart: false, flatten: false });
  const { sessionId } = await attached;
  const waiting = new Map();
  let next = 0;
  session.on("Target.receivedMessageFromTarget", ({ message }) => {
    const { id, result, error } = JSON.parse(message);
    const call = waiting.get(id);
    waiting.delete(id);
    error ? call?.reject(new Error(error.message)) : call?.resolve(result);
  });
  return (method, params = {}) => new Promise((resolve, reject) => {
    const id = (next += 1);
    waiting.set(id, { resolve, reject });
    session.send("Target.sendMessageToTarget", { sessionId, message: JSON.stringify({ id, method, params }) }).catch(reject);
  });
}

/**
 * Returns a function that samples the memory of the page's only worker after a garbage collection: bytes of wasm's
 * memory, which never shrinks, and of all ArrayBuffers. The worker must have started its wasm (`UniReal.check` does
 * that).
 * @param {import("playwright-core").Page} page
 * @param {string} wasm URL of the wasm's module
 * @returns {Promise<() => Promise<{ wasm: number, buffers: number }>>}
 */
export async function watchHeap(page, wasm) {
  const [worker] = page.workers();
  const call = await devtools(page);
  return async () => {
    await call("HeapProfiler.collectGarbage");
    const { backingStorageSize: buffers } = await call("Runtime.getHeapUsage");
    // The wasm is already running: initialising it again only returns its exports.
    const bytes = await worker.evaluate(async (url) => {
      const { default: start } = await import(url);
      return (await start()).memory.buffer.byteLength;
    }, wasm);
    return { wasm: bytes, buffers };
  };
}

/**
 * Counts the bytes of device buffers that the page's only worker creates from now on, until they are destroyed or
 * collected.
 * @param {import("playwright-core").Page} page
 * @returns {Promise<() => Promise<{ now: number, most: number }>>}
 */
export async function watchDevice(page) {
  const [worker] = page.workers();
  await worker.evaluate(() => {
    const held = { now: 0, most: 0 };
    self.heldOnDevice = held;
    const gone = new FinalizationRegistry((entry) => entry.end());
    const { createBuffer } = GPUDevice.prototype;
    GPUDevice.prototype.createBuffer = function (descriptor) {
      const buffer = createBuffer.call(this, descriptor);
      const entry = { size: descriptor.size, end() {
        held.now -= this.size;
        this.size = 0;
      } };
      held.now += entry.size;
      held.most = Math.max(held.most, held.now);
      const destroy = buffer.destroy.bind(buffer);
      buffer.destroy = () => (entry.end(), destroy());
      gone.register(buffer, entry);
      return buffer;
    };
  });
  return () => worker.evaluate(() => ({ ...self.heldOnDevice }));
}
