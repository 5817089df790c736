/* CUDA's threads, shared memory, barriers and atomics on a CPU, one block after another: slow, and for tests only. */
#ifndef LOCALMATCH_CUDA_EMULATOR_H
#define LOCALMATCH_CUDA_EMULATOR_H

#include <barrier>
#include <cstdint>
#include <thread>
#include <vector>

#define __global__
#define __device__
/* One block runs at a time, so that a static array is that block's. */
#define __shared__ static

struct Index {
    unsigned x;
};
inline thread_local Index threadIdx, blockIdx, blockDim;
inline std::barrier<> *emulated_barrier;
inline void __syncthreads() { emulated_barrier->arrive_and_wait(); }

typedef int cudaError_t;
constexpr cudaError_t cudaSuccess = 0;
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char *cudaGetErrorString(cudaError_t) { return "emulated"; }

inline unsigned long long atomicCAS(unsigned long long *at, unsigned long long expected, unsigned long long value) {
    __atomic_compare_exchange_n(at, &expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
}
inline unsigned long long atomicAdd(unsigned long long *at, unsigned long long value) {
    return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST);
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
                kernel();
            });
        }
        for (auto &thread : all) thread.join();
    }
}

/* As few threads as show races and barriers; a reduction needs a power of two. */
#define LM_LAUNCH(kernel, blocks, threads, stream, ...) \
    (void)(stream), emulate((blocks), (threads) < 8 ? (threads) : 8, [&] { kernel(__VA_ARGS__); })

#endif
