/* rerank_topk: the units of work. The definition is localmatch/kernels/rerank.py. */
#include <algorithm>

#include "isa.h"
#include "localmatch.h"
#include "parallel.h"

namespace {

constexpr int64_t kUnitQueries = 64;

}  // namespace

extern "C" int32_t lm_rerank_topk(const int8_t *query, int64_t queries, int64_t dimension, const int32_t *candidates,
                                  int64_t width, const int8_t *table, int64_t k, int64_t isa, int64_t threads,
                                  int32_t *score, int32_t *index) {
    const localmatch::Kernels *kernels = localmatch::kernels_for(isa);
    if (queries < 0 || dimension < 4 || dimension % 4 || width < 0 || k < 0 || !kernels) return LM_BAD_ARGUMENT;
    const localmatch::RerankArguments arguments{query, dimension, candidates, width, table, k, score, index};
    return localmatch::parallel_for((queries + kUnitQueries - 1) / kUnitQueries, threads, [&](int64_t i) {
        const int64_t first = i * kUnitQueries;
        kernels->rerank(arguments, first, std::min(kUnitQueries, queries - first));
    });
}
