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
#define LM_LAUNCH(kernel, blocks, threads, stream, ...) \
    kernel<<<(unsigned)(blocks), (unsigned)(threads), 0, (cudaStream_t)(stream)>>>(__VA_ARGS__)
#endif

/* CUDA's error codes are returned with this added. */
#define LM_CUDA_ERROR 1000

static inline int32_t lm_launched(void) {
    const cudaError_t error = cudaGetLastError();
    return error == cudaSuccess ? LM_OK : LM_CUDA_ERROR + (int32_t)error;
}

#endif
