/* Kernels with AVX2: pairs of 16-bit products, which cannot saturate as `maddubs` does. */
#include "isa.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <algorithm>
#include <climits>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#pragma GCC target("avx2,fma")
#include <immintrin.h>

#include "conv_driver.h"
#include "dot_driver.h"
#include "match_driver.h"
#include "rerank_driver.h"

namespace {

struct Avx2 {
    typedef int32_t Vec __attribute__((vector_size(32)));
    using Lanes = Vec;
    using Element = int8_t;
    using Score = int32_t;
    using Row = __m256i;
    using QueryElement = int16_t;
    using RowElement = int16_t;
    static constexpr int kQueries = 4, kVectors = 2, kGroup = 2;
    static constexpr int kRowComponents = 0;
    static constexpr int32_t kLowest = INT32_MIN;
    static constexpr int32_t kRowBias = 0;

    static void convert(const int8_t *from, int16_t *to) {
        to[0] = from[0];
        to[1] = from[1];
    }
    static Row load(const int16_t *rows) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(rows)); }
    static __m256i broadcast(const int16_t *group) {
        int32_t word;
        std::memcpy(&word, group, sizeof word);
        return _mm256_set1_epi32(word);
    }
    static void multiply(Vec &sum, const Row &row, const __m256i &group) {
        sum += reinterpret_cast<Vec>(_mm256_madd_epi16(row, group));
    }
    static Vec iota() { return Vec{0, 1, 2, 3, 4, 5, 6, 7}; }
    static uint32_t lanes_of(const Vec &mask) { return _mm256_movemask_ps(reinterpret_cast<__m256>(mask)); }

    struct Single {
        const int8_t *own;
        int64_t dimension;

        Single(const int8_t *descriptor, int64_t d) : own(descriptor), dimension(d) {}
        int32_t dot(const int8_t *other) const {
            __m256i sum = _mm256_setzero_si256();
            int64_t d = 0;
            for (; d + 16 <= dimension; d += 16) {
                const __m256i a = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(own + d)));
                const __m256i b = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(other + d)));
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
            }
            __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
            half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
            int32_t total = _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
            for (; d < dimension; ++d) total += own[d] * other[d];
            return total;
        }
        /* Four at once share the sums across lanes, which cost more than the products. */
        void dot4(const int8_t *const *others, int32_t *scores) const {
            __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                              _mm256_setzero_si256()};
            int64_t d = 0;
            for (; d + 16 <= dimension; d += 16) {
                const __m256i a = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(own + d)));
                for (int i = 0; i < 4; ++i) {
                    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i *>(others[i] + d));
                    sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(a, _mm256_cvtepi8_epi16(bytes)));
                }
            }
            const __m256i both = _mm256_hadd_epi32(_mm256_hadd_epi32(sum[0], sum[1]), _mm256_hadd_epi32(sum[2], sum[3]));
            _mm_storeu_si128(reinterpret_cast<__m128i *>(scores),
                             _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1)));
            for (; d < dimension; ++d) {
                for (int i = 0; i < 4; ++i) scores[i] += own[d] * others[i][d];
            }
        }
    };
};

struct Avx2Float : FloatIsa<32> {
    using Row = __m256;
    static constexpr int kQueries = 4, kVectors = 2;

    static Row load(const float *rows) { return _mm256_loadu_ps(rows); }
    static __m256 broadcast(const float *group) { return _mm256_set1_ps(*group); }
    static void multiply(Vec &sum, const Row &row, const __m256 &group) {
        sum = reinterpret_cast<Vec>(_mm256_fmadd_ps(row, group, reinterpret_cast<__m256>(sum)));
    }
    static Lanes iota() { return Avx2::iota(); }
};

const localmatch::Kernels kKernels = {match_unit<Avx2>, match_unit<Avx2Float>, rerank_unit<Avx2>,
                                       compare_unit<Avx2>, conv_unit<Avx2>};

}  // namespace

namespace localmatch {
const Kernels *kernels_avx2() { return &kKernels; }
}  // namespace localmatch
#else
namespace localmatch {
const Kernels *kernels_avx2() { return nullptr; }
}  // namespace localmatch
#endif
