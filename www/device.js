/** Prepares every WebGPU device of the engine: requests subgroups, compiles stored pipelines, listens for errors. */
import { preparePipelines, watchPipelines } from "./pipelines.js";
import { requestSubgroups } from "./subgroups.js";

/**
 * Wraps `GPUAdapter.requestDevice` for all adapters of this worker; call it before the engine opens a device.
 * @param {(event: GPUUncapturedErrorEvent) => void} onError called for each uncaptured error of a device, before wgpu's
 *   listener
 */
export function prepareDevices(onError) {
  if (!("GPUAdapter" in self)) {
    return;
  }
  watchPipelines();
  requestSubgroups();
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    const device = await requestDevice.call(this, descriptor);
    device.addEventListener("uncapturederror", onError);
    preparePipelines(device);
    return device;
  };
}
