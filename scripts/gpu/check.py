"""Checks without a GPU that a bundle's NVRTC compiles the headers of our kernels: check.py FOLDER (with lib/ and include/)."""

import ctypes
import pathlib
import sys

HEADERS = ["cuda_fp16.h", "cuda_bf16.h", "cuda_fp8.h", "mma.h", "cuda/barrier", "cooperative_groups.h",
           "cooperative_groups/memcpy_async.h", "cuComplex.h", "cuda_runtime.h"]
KERNEL = """
using namespace nvcuda;
extern "C" __global__ void twice(float *x, __half *h, __nv_bfloat16 *b) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  x[i] *= 2.0f + __half2float(h[i]) + __bfloat162float(b[i]);
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
  wmma::fill_fragment(sum, x[i]);
  wmma::store_matrix_sync(x, sum, 16, wmma::mem_row_major);
}
"""

folder = pathlib.Path(sys.argv[1])
nvrtc = ctypes.CDLL(str(folder / "lib/libnvrtc.so.12"))
source = "".join(f"#include <{header}>\n" for header in HEADERS) + KERNEL
for architecture in ("sm_75", "sm_80", "sm_89", "sm_90a"):
    program = ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), None, 0, None, None) == 0
    options = [f"--gpu-architecture={architecture}", f"--include-path={folder / 'include'}"]
    arguments = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    failed = nvrtc.nvrtcCompileProgram(program, len(options), arguments)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    if failed:
        sys.exit(f"NVRTC for {architecture}: {log.value.decode()}")
    print(f"NVRTC compiles a kernel with every header for {architecture}")
