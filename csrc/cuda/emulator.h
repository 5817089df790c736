/* CUDA's threads, shared memory, barriers and atomics on a CPU, one block after another: slow, and for tests only. */
#ifndef LOCALMATCH_CUDA_EMULATOR_H
#define LOCALMATCH_CUDA_EMULATOR_H

#include <barrier>
#include <cmath>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
/* One block runs at a time, so that a static array is that block's. */
#define __shared__ static

struct Index {
    unsigned x;
};
inline thread_local Index threadIdx, blockIdx, blockDim, gridDim;
inline std::barrier<> *emulated_barrier;
inline void __syncthreads() { emulated_barrier->arrive_and_wait(); }
/* Blocks are smaller than a warp. */
inline void lm_sync_warp() { __syncthreads(); }
inline void lm_let_next_launch_begin() {}
inline void lm_wait_for_earlier_launch() {}
inline int32_t __ffs(int32_t bits) { return __builtin_ffs(bits); }
inline int32_t __popc(uint32_t bits) { return __builtin_popcount(bits); }

typedef int cudaError_t;
constexpr cudaError_t cudaSuccess = 0;
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char *cudaGetErrorString(cudaError_t) { return "emulated"; }

template <class T>
T atomicCAS(T *at, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
    __atomic_compare_exchange_n(at, &expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
}
template <class T>
T atomicAdd(T *at, std::type_identity_t<T> value) {
    return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST);
}
template <class T>
T atomicExch(T *at, std::type_identity_t<T> value) {
    return __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST);
}

struct int4 {
    int32_t x, y, z, w;
};
inline int32_t __dp4a(int32_t a, int32_t b, int32_t sum) {
    for (int shift = 0; shift < 32; shift += 8) sum += (int8_t)(a >> shift) * (int8_t)(b >> shift);
    return sum;
}

constexpr int64_t kEmulatedThreads = 8;
/* Lanes exchange within the block, whose threads must all call this. */
inline int32_t __shfl_xor_sync(unsigned, int32_t value, int distance) {
    static int32_t values[kEmulatedThreads];
    values[threadIdx.x] = value;
    __syncthreads();
    const int32_t other = values[threadIdx.x ^ (unsigned)distance];
    __syncthreads();
    return other;
}

inline uint32_t __ballot_sync(unsigned, bool value) {
    int32_t bits = (int32_t)value << threadIdx.x;
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) bits |= __shfl_xor_sync(~0u, bits, (int)half);
    return (uint32_t)bits;
}

template <class Kernel>
void emulate(int64_t blocks, int64_t threads, Kernel kernel) {
    for (int64_t block = 0; block < blocks; ++block) {
        std::barrier<> barrier(threads);
        emulated_barrier = &barrier;
        std::vector<std::thread> all;
        for (int64_t t = 0; t < threads; ++t) {
            all.emplace_back([=] {
                threadIdx.x = static_cast<unsigned>(t);
                blockIdx.x = static_cast<unsigned>(block);
                blockDim.x = static_cast<unsigned>(threads);
                gridDim.x = static_cast<unsigned>(blocks);
                kernel();
            });
        }
        for (auto &thread : all) thread.join();
    }
}

/* As few threads as show races and barriers; a reduction needs a power of two. */
#define LM_LAUNCH_SHARED(kernel, blocks, threads, shared, stream, ...) \
    (void)(stream), (void)(shared), emulate((blocks), (threads) < kEmulatedThreads ? (threads) : kEmulatedThreads, [&] { kernel(__VA_ARGS__); })

#define LM_LAUNCH_BESIDE(kernel, blocks, threads, stream, ...) \
    LM_LAUNCH_SHARED(kernel, blocks, threads, 0, stream, __VA_ARGS__)

/* Little, so that tests see work that does not fit. */
constexpr int32_t kEmulatedShared = 64 << 10;
#define LM_SHARED_ARRAY(type, name) static type name[kEmulatedShared / sizeof(type)]
inline int32_t lm_device(int32_t *shared, int32_t *processors) {
    *shared = kEmulatedShared;
    *processors = 2;
    return 0;
}
template <class Kernel>
int32_t lm_allow_shared(Kernel, int64_t) {
    return 0;
}

#endif
