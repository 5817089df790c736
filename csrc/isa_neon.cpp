/* Kernels with the dot product of ARMv8.2: 16 products an instruction. */
#include "isa.h"

#if defined(__aarch64__)
#include <algorithm>
#include <climits>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#pragma GCC target("arch=armv8.2-a+dotprod")
#include <arm_neon.h>

#include "conv_driver.h"
#include "dot_driver.h"
#include "match_driver.h"
#include "rerank_driver.h"

namespace {

struct Neon {
    typedef int32_t Vec __attribute__((vector_size(16)));
    using Lanes = Vec;
    using Element = int8_t;
    using Score = int32_t;
    using Row = int8x16_t;
    using QueryElement = int8_t;
    using RowElement = int8_t;
    static constexpr int kQueries = 4, kVectors = 4, kGroup = 4;
    static constexpr int kRowComponents = 0;
    static constexpr int32_t kLowest = INT32_MIN;
    static constexpr int32_t kRowBias = 0;

    static void convert(const int8_t *from, int8_t *to) { std::memcpy(to, from, kGroup); }
    static Row load(const int8_t *rows) { return vld1q_s8(rows); }
    static int8x16_t broadcast(const int8_t *group) {
        int32_t word;
        std::memcpy(&word, group, sizeof word);
        return vreinterpretq_s8_s32(vdupq_n_s32(word));
    }
    static void multiply(Vec &sum, const Row &row, const int8x16_t &group) {
        sum = reinterpret_cast<Vec>(vdotq_s32(reinterpret_cast<int32x4_t>(sum), row, group));
    }
    static Vec iota() { return Vec{0, 1, 2, 3}; }
    static uint32_t lanes_of(const Vec &mask) { return vaddvq_u32(reinterpret_cast<uint32x4_t>(mask & Vec{1, 2, 4, 8})); }

    struct Single {
        const int8_t *own;
        int64_t dimension;

        Single(const int8_t *descriptor, int64_t d) : own(descriptor), dimension(d) {}
        int32_t dot(const int8_t *other) const {
            int32x4_t sum = vdupq_n_s32(0);
            int64_t d = 0;
            for (; d + 16 <= dimension; d += 16) sum = vdotq_s32(sum, vld1q_s8(own + d), vld1q_s8(other + d));
            int32_t total = vaddvq_s32(sum);
            for (; d < dimension; ++d) total += own[d] * other[d];
            return total;
        }
        void dot4(const int8_t *const *others, int32_t *scores) const {
            for (int i = 0; i < 4; ++i) scores[i] = dot(others[i]);
        }
    };
};

struct NeonFloat : FloatIsa<16> {
    using Row = float32x4_t;
    static constexpr int kQueries = 4, kVectors = 4;

    static Row load(const float *rows) { return vld1q_f32(rows); }
    static float32x4_t broadcast(const float *group) { return vdupq_n_f32(*group); }
    static void multiply(Vec &sum, const Row &row, const float32x4_t &group) {
        sum = reinterpret_cast<Vec>(vfmaq_f32(reinterpret_cast<float32x4_t>(sum), row, group));
    }
    static Lanes iota() { return Neon::iota(); }
};

const localmatch::Kernels kKernels = {match_unit<Neon>, match_unit<NeonFloat>, rerank_unit<Neon>,
                                       compare_unit<Neon>, conv_unit<Neon>};

}  // namespace

namespace localmatch {
const Kernels *kernels_neon() { return &kKernels; }
}  // namespace localmatch
#else
namespace localmatch {
const Kernels *kernels_neon() { return nullptr; }
}  // namespace localmatch
#endif
