/* What this CPU can do at most: products a second of its best instruction, on registers alone. Built by ceilings.py, for
 * AVX2 with -DAVX2, else for AVX-512 VNNI.
 */
#include <cstdint>

#if defined(__x86_64__)
#if defined(AVX2)
#pragma GCC target("avx2,fma")
#else
#pragma GCC target("avx512f,avx512vnni,avx2,fma")
#endif
#include <immintrin.h>

namespace {

#if defined(AVX2)
constexpr int kBytes = 32, kByteProducts = 16;
/* Bytes are widened to 16 bits before, as the kernels do once a block; pairs are multiplied and added, then summed. */
#define MULTIPLY_BYTES(sum) "vpmaddwd %11, %10, %%ymm15\n\tvpaddd %%ymm15, " sum ", " sum "\n\t"
#define SPOILED "ymm15"
#else
constexpr int kBytes = 64, kByteProducts = 64;
#define MULTIPLY_BYTES(sum) "vpdpbusd %11, %10, " sum "\n\t"
#define SPOILED
#endif
#define MULTIPLY_FLOATS(sum) "vfmadd231ps %11, %10, " sum "\n\t"
#define ADD_INTEGERS(sum) "vpaddd %10, " sum ", " sum "\n\t"

typedef int32_t Integers __attribute__((vector_size(kBytes)));
typedef float Floats __attribute__((vector_size(kBytes)));

/* Ten sums that do not wait for each other. */
#define TEN(step) step("%0") step("%1") step("%2") step("%3") step("%4") step("%5") step("%6") step("%7") step("%8") step("%9")
#define LOOP(type, step, ...)                                                                                           \
    type a = {}, s0 = a, s1 = a, s2 = a, s3 = a, s4 = a, s5 = a, s6 = a, s7 = a, s8 = a, s9 = a;                        \
    for (int64_t i = 0; i < rounds; ++i) {                                                                              \
        __asm__ volatile(TEN(step)                                                                                      \
                         : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5), "+v"(s6), "+v"(s7), "+v"(s8),    \
                           "+v"(s9)                                                                                     \
                         : "v"(a), "v"(a)                                                                               \
                         : __VA_ARGS__);                                                                                \
    }

}  // namespace

extern "C" double peak_int8(int64_t rounds) {
    LOOP(Integers, MULTIPLY_BYTES, SPOILED)
    return 10.0 * 2 * kByteProducts * static_cast<double>(rounds);
}

extern "C" double peak_float32(int64_t rounds) {
    LOOP(Floats, MULTIPLY_FLOATS)
    return 10.0 * 2 * (kBytes / 4) * static_cast<double>(rounds);
}

extern "C" double peak_int32(int64_t rounds) {
    LOOP(Integers, ADD_INTEGERS)
    return 10.0 * (kBytes / 4) * static_cast<double>(rounds);
}
#endif
