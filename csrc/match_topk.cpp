/* match_topk: the units of work. The definition is localmatch/kernels/match.py. */

#include <algorithm>
#include <memory>
#include <new>

#include "isa.h"
#include "localmatch.h"
#include "parallel.h"

namespace {

/* Queries a unit: so many that packing a segment's rows for them costs little. Units a thread: so many that threads end
 * together, and so few that packing the queries for a unit's segments costs little.
 */
constexpr int64_t kUnitQueries = 1024, kUnitsOfThread = 8;

template <class Arguments, class Score, class Element, class Unit>
int32_t run(const Element *query, int64_t queries, const Element *reference, int64_t dimension, const int64_t *offsets,
            int64_t segments, Unit localmatch::Kernels::*form, int64_t isa, int64_t threads, Score *best,
            int32_t *index, Score *second, int32_t *mutual) {
    const localmatch::Kernels *kernels = localmatch::kernels_for(isa);
    if (queries < 0 || segments < 0 || dimension < 4 || dimension % 4 || !kernels) return LM_BAD_ARGUMENT;
    const Unit unit = kernels->*form;
    const int64_t rows = offsets[segments];
    std::unique_ptr<std::atomic<uint64_t>[]> row_best;
    if (mutual) {
        row_best.reset(new (std::nothrow) std::atomic<uint64_t>[static_cast<size_t>(rows)]);
        if (!row_best) return LM_OUT_OF_MEMORY;
        for (int64_t r = 0; r < rows; ++r) row_best[static_cast<size_t>(r)] = 0;
    }
    const Arguments arguments{query, queries, reference, dimension, offsets, best, second, index, row_best.get()};
    const int64_t pieces = (queries + kUnitQueries - 1) / kUnitQueries;
    const int64_t each = std::max<int64_t>(segments * pieces / (std::max<int64_t>(threads, 1) * kUnitsOfThread), 1);
    const int64_t spans = (segments + each - 1) / each;
    const int32_t status = localmatch::parallel_for(spans * pieces, threads, [&](int64_t i) {
        const int64_t query = i % pieces * kUnitQueries, segment = i / pieces * each;
        unit(arguments, segment, std::min(each, segments - segment), query, std::min(kUnitQueries, queries - query));
    });
    for (int64_t r = 0; mutual && r < rows; ++r) {
        const uint64_t packed = row_best[static_cast<size_t>(r)];
        mutual[r] = packed ? static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(packed)) : -1;
    }
    return status;
}

}  // namespace

extern "C" int32_t lm_match_topk(const int8_t *query, int64_t queries, const int8_t *reference, int64_t dimension,
                                 const int64_t *offsets, int64_t segments, int64_t isa, int64_t threads,
                                 int32_t *best, int32_t *index, int32_t *second, int32_t *mutual) {
    return run<localmatch::MatchBytes>(query, queries, reference, dimension, offsets, segments,
                                       &localmatch::Kernels::match, isa, threads, best, index, second, mutual);
}

extern "C" int32_t lm_match_topk_float(const float *query, int64_t queries, const float *reference, int64_t dimension,
                                       const int64_t *offsets, int64_t segments, int64_t isa, int64_t threads,
                                       float *best, int32_t *index, float *second, int32_t *mutual) {
    return run<localmatch::MatchFloats>(query, queries, reference, dimension, offsets, segments,
                                        &localmatch::Kernels::match_float, isa, threads, best, index, second, mutual);
}
