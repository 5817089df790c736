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

/* Puts a row into its place among the k best, sorted; of equal scores the lower row comes first. */
inline void offer(uint64_t *best, int64_t k, int32_t score, int32_t row) {
    const uint64_t mine = localmatch::pack_row(score, row);
    int64_t at = k - 1;
    if (mine <= best[at]) return;
    for (; at > 0 && best[at - 1] < mine; --at) best[at] = best[at - 1];
    best[at] = mine;
}

/* Candidates that are rows: query by query. */
template <class Isa>
void score_rows(const localmatch::RerankArguments &a, int64_t first, int64_t count, uint64_t *best) {
    constexpr int64_t kAhead = 8; /* rows that are fetched before their turn: they lie all over the table */
    for (int64_t q = first; q < first + count; ++q, best += a.k) {
        const typename Isa::Single own(a.query + q * a.dimension, a.dimension);
        const int32_t *rows = a.candidates + q * a.width;
        const auto keep = [&](int32_t score, int32_t row) { offer(best, a.k, score, row); };
        Scorer<Isa, decltype(keep)> scorer(own, keep);
        for (int64_t c = 0; c < a.width; ++c) {
            if (c + kAhead < a.width && rows[c + kAhead] >= 0) {
                __builtin_prefetch(a.table + rows[c + kAhead] * a.dimension);
            }
            if (rows[c] >= 0) scorer.add(a.table + rows[c] * a.dimension, rows[c]);
        }
        scorer.finish();
    }
}

/* Candidates that are runs: run by run, so that a run comes from memory once for all queries of the unit. */
template <class Isa>
void score_runs(const localmatch::RerankArguments &a, int64_t first, int64_t count, uint64_t *best) {
    const int32_t *runs = a.candidates + first * a.width;
    std::vector<int64_t> end(static_cast<size_t>(a.runs) + 2);
    for (int64_t i = 0; i < count * a.width; ++i) end[static_cast<size_t>(runs[i] + 1)] += 1;
    end[0] = 0; /* of those that are none */
    for (size_t run = 1; run < end.size(); ++run) end[run] += end[run - 1];
    std::vector<int32_t> wanted(static_cast<size_t>(end.back())); /* numbers of queries, sorted by run */
    for (int64_t i = count * a.width - 1; i >= 0; --i) {
        if (runs[i] >= 0) {
            wanted[static_cast<size_t>(--end[static_cast<size_t>(runs[i] + 1)])] = static_cast<int32_t>(i / a.width);
        }
    }
    std::vector<typename Isa::Single> own;
    own.reserve(static_cast<size_t>(count));
    for (int64_t q = first; q < first + count; ++q) own.emplace_back(a.query + q * a.dimension, a.dimension);
    /* Now end[run + 1] is where the queries of a run begin, and end[run + 2] where those of the next do. */
    for (int64_t run = 0; run < a.runs; ++run) {
        const size_t from = static_cast<size_t>(end[static_cast<size_t>(run + 1)]);
        const size_t to = static_cast<size_t>(end[static_cast<size_t>(run + 2)]);
        for (size_t w = from; w < to; ++w) {
            uint64_t *mine = best + wanted[w] * a.k;
            const auto keep = [&](int32_t score, int32_t row) { offer(mine, a.k, score, row); };
            Scorer<Isa, decltype(keep)> scorer(own[static_cast<size_t>(wanted[w])], keep);
            for (int64_t row = a.offsets[run]; row < a.offsets[run + 1]; ++row) {
                scorer.add(a.table + row * a.dimension, static_cast<int32_t>(row));
            }
            scorer.finish();
        }
    }
}

template <class Isa>
void rerank_unit(const localmatch::RerankArguments &a, int64_t first, int64_t count) {
    if (a.k == 0) return;
    std::vector<uint64_t> best(static_cast<size_t>(count * a.k), 0);
    (a.offsets ? score_runs<Isa> : score_rows<Isa>)(a, first, count, best.data());
    for (int64_t i = 0; i < count * a.k; ++i) {
        unpack(best[static_cast<size_t>(i)], a.score + first * a.k + i, a.index + first * a.k + i);
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
