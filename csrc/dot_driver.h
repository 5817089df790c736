/* The loops of rerank_topk and compare_maps: one descriptor against a few others at scattered places. An Isa prepares
 * a descriptor once (Isa::Single) and multiplies it with one after another.
 */
#ifndef LOCALMATCH_DOT_DRIVER_H
#define LOCALMATCH_DOT_DRIVER_H

#include <algorithm>
#include <climits>
#include <cstdint>
#include <vector>

#include "isa.h"

namespace {

/* Keeps the k best of each query's candidates sorted; of equal scores the lower row comes first. */
template <class Isa>
void rerank_unit(const localmatch::RerankArguments &a, int64_t first, int64_t count) {
    constexpr int64_t kAhead = 8; /* rows that are fetched before their turn: they lie all over the table */
    std::vector<uint64_t> best(static_cast<size_t>(a.k));
    for (int64_t q = first; q < first + count; ++q) {
        const typename Isa::Single own(a.query + q * a.dimension, a.dimension);
        const int32_t *rows = a.candidates + q * a.width;
        std::fill(best.begin(), best.end(), 0);
        for (int64_t c = 0; c < a.width; ++c) {
            if (c + kAhead < a.width && rows[c + kAhead] >= 0) {
                __builtin_prefetch(a.table + rows[c + kAhead] * a.dimension);
            }
            if (rows[c] < 0 || a.k == 0) continue;
            const uint64_t mine = localmatch::pack_row(own.dot(a.table + rows[c] * a.dimension), rows[c]);
            int64_t at = a.k - 1;
            if (mine <= best[static_cast<size_t>(at)]) continue;
            for (; at > 0 && best[static_cast<size_t>(at - 1)] < mine; --at) {
                best[static_cast<size_t>(at)] = best[static_cast<size_t>(at - 1)];
            }
            best[static_cast<size_t>(at)] = mine;
        }
        for (int64_t i = 0; i < a.k; ++i) {
            const uint64_t packed = best[static_cast<size_t>(i)];
            a.score[q * a.k + i] = packed ? static_cast<int32_t>(static_cast<uint32_t>(packed >> 32) ^ 0x80000000u) : INT32_MIN;
            a.index[q * a.k + i] = packed ? static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(packed)) : -1;
        }
    }
}

/* One row of query cells: each looks around the reference cell that its alignment maps it to. */
template <class Isa>
void compare_unit(const localmatch::CompareArguments &a, int64_t alignment, int64_t y) {
    const int32_t *m = a.affine + alignment * 6;
    const int64_t side = 2 * a.radius + 1;
    for (int64_t x = 0; x < a.width; ++x) {
        const int64_t at = (alignment * a.height + y) * a.width + x;
        const int64_t cx = (m[0] * x + m[1] * y + m[2] + 32768) >> 16, cy = (m[3] * x + m[4] * y + m[5] + 32768) >> 16;
        int32_t best = INT32_MIN, where = -1;
        const int64_t x0 = std::max(cx - a.radius, int64_t{0}), x1 = std::min(cx + a.radius, a.reference_width - 1);
        const int64_t y0 = std::max(cy - a.radius, int64_t{0}), y1 = std::min(cy + a.radius, a.reference_height - 1);
        if (x0 <= x1 && y0 <= y1) {
            const typename Isa::Single own(a.query + (y * a.width + x) * a.dimension, a.dimension);
            for (int64_t v = y0; v <= y1; ++v) {
                for (int64_t u = x0; u <= x1; ++u) {
                    const int32_t score = own.dot(a.reference + (v * a.reference_width + u) * a.dimension);
                    if (score > best) {
                        best = score;
                        where = static_cast<int32_t>((v - cy + a.radius) * side + u - cx + a.radius);
                    }
                }
            }
        }
        a.score[at] = best;
        a.offset[at] = where;
    }
}

}  // namespace
#endif
