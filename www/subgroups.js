/** The WebGPU feature that wgpu does not request, because it does not know that browsers may offer it. */
const SUBGROUPS = "subgroups";

/**
 * Wraps `GPUAdapter.requestDevice` for all adapters of this thread, so that devices have subgroups where the adapter does; call it
 * before a device is opened. Sets the global `unirealSubgroups` to whether the latest device has them, which the engine reads
 * (src/web/gpu.rs). It imports nothing, since the engine's tests include it alone.
 */
export function requestSubgroups() {
  if (!("GPUAdapter" in globalThis)) {
    return;
  }
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    const features = new Set(descriptor?.requiredFeatures);
    if (this.features.has(SUBGROUPS)) {
      features.add(SUBGROUPS);
    }
    const device = await requestDevice.call(this, { ...descriptor, requiredFeatures: [...features] });
    globalThis.unirealSubgroups = device.features.has(SUBGROUPS);
    return device;
  };
}
