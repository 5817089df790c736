/* Kernels with AVX-512 VNNI: 64 products an instruction. */
#include "isa.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <algorithm>
#include <climits>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#include <immintrin.h>
/* GCC 12 warns of its own header: _mm512_reduce_add_epi32 begins with an undefined register, on purpose. */
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#include "conv_driver.h"
#include "dot_driver.h"
#include "match_driver.h"
#include "rerank_driver.h"

namespace {

struct Avx512 {
    typedef int32_t Vec __attribute__((vector_size(64)));
    using Lanes = Vec;
    using Element = int8_t;
    using Score = int32_t;
    using Row = __m512i;
    using QueryElement = int8_t;
    using RowElement = uint8_t;
    static constexpr int kQueries = 8, kVectors = 3, kGroup = 4;
    static constexpr int kRowComponents = 64;
    static constexpr int32_t kLowest = INT32_MIN;
    /* The instruction multiplies unsigned by signed bytes: rows are stored with this added, sums start with it taken. */
    static constexpr int32_t kRowBias = 128;

    static void convert(const int8_t *from, uint8_t *to) {
        uint32_t word;
        std::memcpy(&word, from, sizeof word);
        word ^= 0x80808080u;
        std::memcpy(to, &word, sizeof word);
    }
    static __m512i biased(__m512i row) { return _mm512_xor_si512(row, _mm512_set1_epi8(static_cast<char>(kRowBias))); }
    /* 64 components of 16 rows -> 16 groups of them, `apart` bytes apart, each with 16 lanes. */
    static void convert_rows(const int8_t *from, int64_t dimension, uint8_t *to, int64_t apart) {
        __m512i row[16], pair[16];
        for (int i = 0; i < 16; ++i) row[i] = biased(_mm512_loadu_si512(from + i * dimension));
        for (int i = 0; i < 16; i += 2) {
            pair[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
            pair[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
        }
        for (int i = 0; i < 16; i += 4) {
            for (int half = 0; half < 2; ++half) {
                row[i + 2 * half] = _mm512_unpacklo_epi64(pair[i + half], pair[i + 2 + half]);
                row[i + 2 * half + 1] = _mm512_unpackhi_epi64(pair[i + half], pair[i + 2 + half]);
            }
        }
        /* Now row[4 * b + c] holds, in its 128-bit part g, group 4 * g + c of the rows 4 * b to 4 * b + 3. */
        for (int c = 0; c < 4; ++c) {
            const __m512i even[] = {_mm512_shuffle_i32x4(row[c], row[4 + c], 0x88),
                                    _mm512_shuffle_i32x4(row[8 + c], row[12 + c], 0x88)};
            const __m512i odd[] = {_mm512_shuffle_i32x4(row[c], row[4 + c], 0xdd),
                                   _mm512_shuffle_i32x4(row[8 + c], row[12 + c], 0xdd)};
            _mm512_storeu_si512(to + c * apart, _mm512_shuffle_i32x4(even[0], even[1], 0x88));
            _mm512_storeu_si512(to + (4 + c) * apart, _mm512_shuffle_i32x4(odd[0], odd[1], 0x88));
            _mm512_storeu_si512(to + (8 + c) * apart, _mm512_shuffle_i32x4(even[0], even[1], 0xdd));
            _mm512_storeu_si512(to + (12 + c) * apart, _mm512_shuffle_i32x4(odd[0], odd[1], 0xdd));
        }
    }
    static Row load(const uint8_t *rows) { return _mm512_loadu_si512(rows); }
    static __m512i broadcast(const int8_t *group) {
        int32_t word;
        std::memcpy(&word, group, sizeof word);
        return _mm512_set1_epi32(word);
    }
    /* Not the intrinsic: GCC 12 spills its accumulators, which halves the speed. */
    static void multiply(Vec &sum, const Row &row, const __m512i &group) {
        __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(row), "v"(group));
    }
    static Vec iota() { return Vec{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }
    static uint32_t lanes_of(const Vec &mask) { return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)); }

    /* A descriptor as signed bytes; others get 128 added, which its sum takes away again. */
    struct Single {
        const int8_t *own;
        int64_t dimension;
        int32_t start = 0;

        Single(const int8_t *descriptor, int64_t d) : own(descriptor), dimension(d) {
            const __m512i bias = _mm512_set1_epi8(static_cast<char>(kRowBias));
            __m512i sum = _mm512_setzero_si512();
            for (int64_t i = 0; i < d; i += 64) {
                sum = _mm512_dpbusd_epi32(sum, bias, bytes(descriptor + i, d - i));
            }
            start = -_mm512_reduce_add_epi32(sum);
        }
        /* 64 bytes, or the `left` first ones and zeros; without a mask where there are all, as masked loads are slow. */
        static __m512i bytes(const int8_t *from, int64_t left) {
            if (left >= 64) return _mm512_loadu_si512(from);
            return _mm512_maskz_loadu_epi8((__mmask64{1} << left) - 1, from);
        }
        int32_t dot(const int8_t *other) const {
            __m512i sum = _mm512_setzero_si512();
            for (int64_t d = 0; d < dimension; d += 64) {
                const __m512i row = biased(bytes(other + d, dimension - d));
                sum = _mm512_dpbusd_epi32(sum, row, bytes(own + d, dimension - d));
            }
            return start + _mm512_reduce_add_epi32(sum);
        }
        /* Four at once share the sums across lanes, which cost more than the products. */
        void dot4(const int8_t *const *others, int32_t *scores) const {
            __m512i a = _mm512_setzero_si512(), b = a, c = a, e = a;
            for (int64_t d = 0; d < dimension; d += 64) {
                const int64_t left = dimension - d;
                const __m512i mine = bytes(own + d, left);
                const auto row = [&](int i) { return biased(bytes(others[i] + d, left)); };
                a = _mm512_dpbusd_epi32(a, row(0), mine);
                b = _mm512_dpbusd_epi32(b, row(1), mine);
                c = _mm512_dpbusd_epi32(c, row(2), mine);
                e = _mm512_dpbusd_epi32(e, row(3), mine);
            }
            const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            const __m512i ce = _mm512_add_epi32(_mm512_unpacklo_epi32(c, e), _mm512_unpackhi_epi32(c, e));
            const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, ce), _mm512_unpackhi_epi64(ab, ce));
            const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
            const __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
            _mm_storeu_si128(reinterpret_cast<__m128i *>(scores), _mm_add_epi32(sums, _mm_set1_epi32(start)));
        }
    };
};

struct Avx512Float : FloatIsa<64> {
    using Row = __m512;
    static constexpr int kQueries = 8, kVectors = 3;

    static Row load(const float *rows) { return _mm512_loadu_ps(rows); }
    static __m512 broadcast(const float *group) { return _mm512_set1_ps(*group); }
    static void multiply(Vec &sum, const Row &row, const __m512 &group) {
        sum = reinterpret_cast<Vec>(_mm512_fmadd_ps(row, group, reinterpret_cast<__m512>(sum)));
    }
    static Lanes iota() { return Avx512::iota(); }
};

const localmatch::Kernels kKernels = {match_unit<Avx512>, match_unit<Avx512Float>, rerank_unit<Avx512>,
                                       compare_unit<Avx512>, conv_unit<Avx512>};

}  // namespace

namespace localmatch {
const Kernels *kernels_avx512() { return &kKernels; }
}  // namespace localmatch
#else
namespace localmatch {
const Kernels *kernels_avx512() { return nullptr; }
}  // namespace localmatch
#endif
