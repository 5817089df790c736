/* rerank_topk: the units of work. The definition is localmatch/kernels/rerank.py. */
#include <algorithm>

#include "isa.h"
#include "localmatch.h"
#include "parallel.h"

namespace {

/* Queries of a unit. A unit reads and packs every run that one of its queries wants, so there it is as large as threads
 * allow: 8,000 queries in one unit take two thirds of the time that they take in two. */
constexpr int64_t kRowQueries = 64, kRunQueries = 8192;

}  // namespace

extern "C" int32_t lm_rerank_topk(const int8_t *query, int64_t queries, int64_t dimension, const int32_t *candidates,
                                  int64_t width, const int64_t *offsets, int64_t runs, const int8_t *table, int64_t k,
                                  int64_t isa, int64_t threads, int32_t *score, int32_t *index) {
    const localmatch::Kernels *kernels = localmatch::kernels_for(isa);
    if (queries < 0 || dimension < 4 || dimension % 4 || width < 0 || k < 0 || threads < 1 || !kernels) {
        return LM_BAD_ARGUMENT;
    }
    const localmatch::RerankArguments arguments{query, dimension, candidates, width, offsets,
                                                runs,  table,     k,          score, index};
    const int64_t share = std::min((queries + threads - 1) / threads, kRunQueries);
    const int64_t unit = offsets ? std::max<int64_t>(share, 1) : kRowQueries;
    return localmatch::parallel_for((queries + unit - 1) / unit, threads, [&](int64_t i) {
        kernels->rerank(arguments, i * unit, std::min(unit, queries - i * unit));
    });
}
