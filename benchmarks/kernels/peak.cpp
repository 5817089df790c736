/* What this CPU can do at most: products a second of its best instruction, on registers alone. Built by ceilings.py. */
#include <cstdint>

#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512vnni,avx2,fma")
#include <immintrin.h>

/* Ten sums that do not wait for each other; every instruction multiplies and adds 64 pairs of bytes. */
extern "C" double peak_int8(int64_t rounds) {
    __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(2);
    __m512i s0 = a, s1 = a, s2 = a, s3 = a, s4 = a, s5 = a, s6 = a, s7 = a, s8 = a, s9 = a;
    for (int64_t i = 0; i < rounds; ++i) {
        __asm__ volatile(
            "vpdpbusd %11, %10, %0\n\tvpdpbusd %11, %10, %1\n\tvpdpbusd %11, %10, %2\n\tvpdpbusd %11, %10, %3\n\t"
            "vpdpbusd %11, %10, %4\n\tvpdpbusd %11, %10, %5\n\tvpdpbusd %11, %10, %6\n\tvpdpbusd %11, %10, %7\n\t"
            "vpdpbusd %11, %10, %8\n\tvpdpbusd %11, %10, %9"
            : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5), "+v"(s6), "+v"(s7), "+v"(s8), "+v"(s9)
            : "v"(a), "v"(b));
    }
    return 10.0 * 2 * 64 * static_cast<double>(rounds);
}

extern "C" double peak_float32(int64_t rounds) {
    __m512 a = _mm512_set1_ps(1e-9f), b = a;
    __m512 s0 = a, s1 = a, s2 = a, s3 = a, s4 = a, s5 = a, s6 = a, s7 = a, s8 = a, s9 = a;
    for (int64_t i = 0; i < rounds; ++i) {
        __asm__ volatile(
            "vfmadd231ps %11, %10, %0\n\tvfmadd231ps %11, %10, %1\n\tvfmadd231ps %11, %10, %2\n\t"
            "vfmadd231ps %11, %10, %3\n\tvfmadd231ps %11, %10, %4\n\tvfmadd231ps %11, %10, %5\n\t"
            "vfmadd231ps %11, %10, %6\n\tvfmadd231ps %11, %10, %7\n\tvfmadd231ps %11, %10, %8\n\t"
            "vfmadd231ps %11, %10, %9"
            : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5), "+v"(s6), "+v"(s7), "+v"(s8), "+v"(s9)
            : "v"(a), "v"(b));
    }
    return 10.0 * 2 * 16 * static_cast<double>(rounds);
}

extern "C" double peak_int32(int64_t rounds) {
    __m512i a = _mm512_set1_epi32(3);
    __m512i s0 = a, s1 = a, s2 = a, s3 = a, s4 = a, s5 = a, s6 = a, s7 = a;
    for (int64_t i = 0; i < rounds; ++i) {
        __asm__ volatile(
            "vpaddd %8, %0, %0\n\tvpaddd %8, %1, %1\n\tvpaddd %8, %2, %2\n\tvpaddd %8, %3, %3\n\t"
            "vpaddd %8, %4, %4\n\tvpaddd %8, %5, %5\n\tvpaddd %8, %6, %6\n\tvpaddd %8, %7, %7"
            : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5), "+v"(s6), "+v"(s7)
            : "v"(a));
    }
    return 8.0 * 16 * static_cast<double>(rounds);
}
#endif
