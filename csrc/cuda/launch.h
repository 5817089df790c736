/* What every .cu file here begins with: the ABI, a launch that a test can replace, and errors as codes. */
#ifndef LOCALMATCH_CUDA_LAUNCH_H
#define LOCALMATCH_CUDA_LAUNCH_H

#include <stdint.h>

#include "../localmatch.h"

/* Tests compile these files as plain C++, with threads for CUDA's, so that kernels are checked without a GPU. */
#ifdef LM_EMULATE
#include "emulator.h"
#else
#include <cuda_runtime.h>
#define LM_LAUNCH_SHARED(kernel, blocks, threads, shared, stream, ...) \
    kernel<<<(unsigned)(blocks), (unsigned)(threads), (size_t)(shared), (cudaStream_t)(stream)>>>(__VA_ARGS__)
#define LM_SHARED_ARRAY(type, name) extern __shared__ type name[]
#define LM_LAUNCH_BESIDE(kernel, blocks, threads, stream, ...) \
    lm_launch_beside(kernel, (unsigned)(blocks), (unsigned)(threads), (cudaStream_t)(stream), __VA_ARGS__)

/* Launches that begin before the one before has ended are of Hopper and later. */
#if __CUDA_ARCH__ >= 900
__device__ static inline void lm_let_next_launch_begin() { cudaTriggerProgrammaticLaunchCompletion(); }
__device__ static inline void lm_wait_for_earlier_launch() { cudaGridDependencySynchronize(); }
#else
__device__ static inline void lm_let_next_launch_begin() {}
__device__ static inline void lm_wait_for_earlier_launch() {}
#endif
__device__ static inline void lm_sync_warp() { __syncwarp(); }

/* Launches a kernel that does not need what the launch before writes, and waits for it at its own end. */
template <class... Parameters, class... Arguments>
void lm_launch_beside(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, cudaStream_t stream,
                      Arguments... arguments) {
    int device = 0, major = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = blocks;
    config.blockDim = threads;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = major >= 9;
    cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

/* Bytes of shared memory that a block may have on the current device, and how many blocks run at once. */
static inline int32_t lm_device(int32_t *shared, int32_t *processors) {
    int device = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (!error) error = cudaDeviceGetAttribute(shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    if (!error) error = cudaDeviceGetAttribute(processors, cudaDevAttrMultiProcessorCount, device);
    return error;
}

template <class Kernel>
int32_t lm_allow_shared(Kernel kernel, int64_t bytes) {
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}
#endif
#define LM_LAUNCH(kernel, blocks, threads, stream, ...) \
    LM_LAUNCH_SHARED(kernel, blocks, threads, 0, stream, __VA_ARGS__)

/* CUDA's error codes are returned with this added. */
#define LM_CUDA_ERROR 1000

static inline int32_t lm_launched(void) {
    const cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? LM_OK : LM_CUDA_ERROR + (int32_t)error;
}

#endif
