/* Kernels on any CPU: what the compiler makes of four lanes. */
#include <limits>

#include "conv_driver.h"
#include "dot_driver.h"
#include "match_driver.h"
#include "rerank_driver.h"

namespace {

struct Generic {
    typedef int32_t Vec __attribute__((vector_size(16)));
    using Lanes = Vec;
    using Element = int8_t;
    using Score = int32_t;
    using Row = Vec;
    using QueryElement = int32_t;
    using RowElement = int32_t;
    static constexpr int kQueries = 2, kVectors = 2, kGroup = 1;
    static constexpr int kRowComponents = 0;
    static constexpr int32_t kLowest = INT32_MIN;
    static constexpr int32_t kRowBias = 0;

    static void convert(const int8_t *from, int32_t *to) { to[0] = from[0]; }
    static Row load(const int32_t *rows) {
        Row row;
        std::memcpy(&row, rows, sizeof row);
        return row;
    }
    static int32_t broadcast(const int32_t *group) { return *group; }
    static void multiply(Vec &sum, const Row &row, int32_t group) { sum += row * group; }
    static Vec iota() { return Vec{0, 1, 2, 3}; }
    static uint32_t lanes_of(const Vec &mask) { return (mask[0] & 1) | (mask[1] & 2) | (mask[2] & 4) | (mask[3] & 8); }

    struct Single {
        const int8_t *own;
        int64_t dimension;

        Single(const int8_t *descriptor, int64_t d) : own(descriptor), dimension(d) {}
        int32_t dot(const int8_t *other) const {
            int32_t total = 0;
            for (int64_t d = 0; d < dimension; ++d) total += own[d] * other[d];
            return total;
        }
        void dot4(const int8_t *const *others, int32_t *scores) const {
            for (int i = 0; i < 4; ++i) scores[i] = dot(others[i]);
        }
    };
};

struct GenericFloat : FloatIsa<16> {
    using Row = Vec;
    static constexpr int kQueries = 2, kVectors = 2;

    static Row load(const float *rows) {
        Vec row;
        std::memcpy(&row, rows, sizeof row);
        return row;
    }
    static Vec broadcast(const float *group) { return Vec{} + *group; }
    static void multiply(Vec &sum, const Row &row, const Vec &group) {
        sum += row * group;
    }
    static Lanes iota() { return Generic::iota(); }
};

const localmatch::Kernels kKernels = {match_unit<Generic>, match_unit<GenericFloat>, rerank_unit<Generic>,
                                       compare_unit<Generic>, conv_unit<Generic>};

}  // namespace

namespace localmatch {
const Kernels *kernels_generic() { return &kKernels; }
}  // namespace localmatch
