/* The smallest CUDA kernel: what every other one has around its work. */
#include "launch.h"

namespace {

__global__ void null_kernel(const int32_t *input, int64_t count, int32_t *output) {
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) output[i] = input[i];
}

}  // namespace

extern "C" LM_API int32_t lm_cuda_abi_version(void) { return lm_abi_number; }

extern "C" LM_API const char *lm_cuda_error(int32_t code) { return cudaGetErrorString((cudaError_t)code); }

extern "C" LM_API int32_t lm_cuda_null(const int32_t *input, int64_t count, int32_t *output, int64_t stream) {
    if (count < 0) return LM_BAD_ARGUMENT;
    if (count == 0) return LM_OK;
    LM_LAUNCH(null_kernel, (count + 255) / 256, 256, stream, input, count, output);
    return lm_launched();
}
