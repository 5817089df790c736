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

/* The two numbers that `pack_row` packed; what nothing was packed for. */
inline void unpack(uint64_t packed, int32_t *score, int32_t *number) {
    *score = packed ? static_cast<int32_t>(static_cast<uint32_t>(packed >> 32) ^ 0x80000000u) : INT32_MIN;
    *number = packed ? static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(packed)) : -1;
}

/* Hands scores of rows to `take(score, number)` in order, four products at a time. */
template <class Isa, class Take>
class Scorer {
public:
    Scorer(const typename Isa::Single &own, Take take) : own_(own), take_(take) {}

    void add(const int8_t *row, int32_t number) {
        rows_[waiting_] = row;
        numbers_[waiting_] = number;
        if (++waiting_ == 4) {
            int32_t scores[4];
            own_.dot4(rows_, scores);
            for (int i = 0; i < 4; ++i) take_(scores[i], numbers_[i]);
            waiting_ = 0;
        }
    }
    void finish() {
        for (int i = 0; i < waiting_; ++i) take_(own_.dot(rows_[i]), numbers_[i]);
        waiting_ = 0;
    }

private:
    const typename Isa::Single &own_;
    Take take_;
    const int8_t *rows_[4];
    int32_t numbers_[4];
    int waiting_ = 0;
};

/* Keeps the k best of each query's candidates sorted; of equal scores the lower row comes first. */
template <class Isa>
void rerank_unit(const localmatch::RerankArguments &a, int64_t first, int64_t count) {
    constexpr int64_t kAhead = 8; /* rows that are fetched before their turn: they lie all over the table */
    std::vector<uint64_t> best(static_cast<size_t>(a.k));
    for (int64_t q = first; q < first + count && a.k > 0; ++q) {
        const typename Isa::Single own(a.query + q * a.dimension, a.dimension);
        const int32_t *rows = a.candidates + q * a.width;
        std::fill(best.begin(), best.end(), 0);
        const auto keep = [&](int32_t score, int32_t row) {
            const uint64_t mine = localmatch::pack_row(score, row);
            size_t at = best.size() - 1;
            if (mine <= best[at]) return;
            for (; at > 0 && best[at - 1] < mine; --at) best[at] = best[at - 1];
            best[at] = mine;
        };
        Scorer<Isa, decltype(keep)> scorer(own, keep);
        for (int64_t c = 0; c < a.width; ++c) {
            if (c + kAhead < a.width && rows[c + kAhead] >= 0) {
                __builtin_prefetch(a.table + rows[c + kAhead] * a.dimension);
            }
            if (rows[c] >= 0) scorer.add(a.table + rows[c] * a.dimension, rows[c]);
        }
        scorer.finish();
        for (int64_t i = 0; i < a.k; ++i) {
            unpack(best[static_cast<size_t>(i)], a.score + q * a.k + i, a.index + q * a.k + i);
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
        uint64_t best = 0; /* score and place in one: random scores would mislead a branch */
        const int64_t x0 = std::max(cx - a.radius, int64_t{0}), x1 = std::min(cx + a.radius, a.reference_width - 1);
        const int64_t y0 = std::max(cy - a.radius, int64_t{0}), y1 = std::min(cy + a.radius, a.reference_height - 1);
        if (x0 <= x1 && y0 <= y1) {
            const typename Isa::Single own(a.query + (y * a.width + x) * a.dimension, a.dimension);
            const auto keep = [&](int32_t score, int32_t place) {
                best = std::max(best, localmatch::pack_row(score, place));
            };
            Scorer<Isa, decltype(keep)> scorer(own, keep);
            for (int64_t v = y0; v <= y1; ++v) {
                const int8_t *row = a.reference + v * a.reference_width * a.dimension;
                const int64_t place = (v - cy + a.radius) * side - cx + a.radius;
                for (int64_t u = x0; u <= x1; ++u) scorer.add(row + u * a.dimension, static_cast<int32_t>(place + u));
            }
            scorer.finish();
        }
        unpack(best, a.score + at, a.offset + at);
    }
}

}  // namespace
#endif
