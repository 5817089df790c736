/* Kernels that are compiled once for each instruction set, and which of them this CPU can run; asked at run time, so
 * that one library serves every CPU. A file isa_*.cpp names the instructions, a *_driver.h has the loops.
 */
#ifndef LOCALMATCH_ISA_H
#define LOCALMATCH_ISA_H

#include <atomic>
#include <cstdint>
#include <cstring>

namespace localmatch {

/* Element is int8_t or float, Score then int32_t or float. */
template <class Element, class Score>
struct MatchArguments {
    const Element *query;
    int64_t queries;
    const Element *reference;
    int64_t dimension;
    const int64_t *offsets;
    Score *best, *second; /* second may be null */
    int32_t *index;
    std::atomic<uint64_t> *row_best; /* best query of each reference row, packed; null if not wanted */
};
using MatchBytes = MatchArguments<int8_t, int32_t>;
using MatchFloats = MatchArguments<float, float>;

/* A number that is ordered as the score. */
inline uint32_t rank_of(int32_t score) { return static_cast<uint32_t>(score) ^ 0x80000000u; }
inline uint32_t rank_of(float score) {
    uint32_t bits;
    std::memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* A score and a number in one, whose maximum is the best score and of equal ones the lowest number. */
template <class Score>
uint64_t pack_row(Score score, int32_t number) {
    return (static_cast<uint64_t>(rank_of(score)) << 32) | (0xffffffffu - static_cast<uint32_t>(number));
}

/* Maxima do not depend on order, so the result is the same at every thread count. */
template <class Arguments, class Score>
void offer_rows(const Arguments &a, int64_t row, int64_t rows, const Score *best, const int32_t *query) {
    for (int64_t r = 0; r < rows; ++r) {
        const uint64_t mine = pack_row(best[r], query[r]);
        std::atomic<uint64_t> &shared = a.row_best[row + r];
        uint64_t seen = shared.load(std::memory_order_relaxed);
        while (seen < mine && !shared.compare_exchange_weak(seen, mine, std::memory_order_relaxed)) {
        }
    }
}

struct RerankArguments {
    const int8_t *query;
    int64_t dimension;
    const int32_t *candidates; /* [queries, width], -1 for none */
    int64_t width;
    const int64_t *offsets; /* [runs + 1], or null */
    int64_t runs;
    const int8_t *table;
    int64_t k;
    int32_t *score, *index; /* [queries, k] */
};

struct CompareArguments {
    const int8_t *query; /* [height, width, dimension] */
    int64_t height, width, dimension;
    const int8_t *reference; /* [reference_height, reference_width, dimension] */
    int64_t reference_height, reference_width;
    const int32_t *affine; /* [alignments, 2, 3] Q16 */
    int64_t radius;
    int32_t *score, *offset; /* [alignments, height, width] */
};

struct ConvArguments {
    const uint8_t *input; /* [inputs / 4, height, width, 4] */
    int64_t inputs, height, width;
    const int8_t *weights; /* [outputs, inputs, 3, 3] */
    int64_t outputs;
    const int32_t *bias;
    const float *scale; /* both [outputs] */
    int64_t stride, out_height, out_width;
    uint8_t *output; /* [outputs / 4, out_height, out_width, 4] */
};

/* The units of work of an instruction set. */
struct Kernels {
    void (*match)(const MatchBytes &, int64_t first_segment, int64_t segments, int64_t first_query, int64_t queries);
    void (*match_float)(const MatchFloats &, int64_t first_segment, int64_t segments, int64_t first_query,
                        int64_t queries);
    void (*rerank)(const RerankArguments &, int64_t first_query, int64_t queries);
    void (*compare)(const CompareArguments &, int64_t alignment, int64_t row);
    void (*convolve)(const ConvArguments &, int64_t first_row, int64_t rows);
};

/* Null where the library was compiled for another kind of CPU. */
const Kernels *kernels_generic();
const Kernels *kernels_neon();
const Kernels *kernels_avx2();
const Kernels *kernels_avx512();

/* The kernels of one of lm_isa; null where this CPU does not have it. */
const Kernels *kernels_for(int64_t isa);

}  // namespace localmatch
#endif
