/* The loops of rerank_topk. */
#ifndef LOCALMATCH_RERANK_DRIVER_H
#define LOCALMATCH_RERANK_DRIVER_H

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "best.h"
#include "dot_driver.h"
#include "isa.h"
#include "tiles.h"

namespace {

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

/* Candidates that are runs: run by run, a tile of the queries that want it at a time. */
template <class Isa>
class RunScorer {
public:
    RunScorer(const localmatch::RerankArguments &a, int64_t first, int64_t count, uint64_t *best)
        : a_(a), query_(a.query + first * a.dimension), best_(best),
          tile_(static_cast<size_t>(Tile::kTileQueries * a.dimension)) {
        for (int64_t q = 0; q < count; ++q) start_.push_back(Tile::start_of(query_ + q * a.dimension, a.dimension));
    }

    /* Offers the rows of a run to some queries, by their numbers in the unit. */
    void score(int64_t run, const int32_t *wanted, int64_t count) {
        const int64_t row = a_.offsets[run], rows = a_.offsets[run + 1] - row;
        if (!rows || !count) return;
        packed_.resize(static_cast<size_t>((rows + Tile::kTileRows - 1) / Tile::kTileRows * Tile::kTileRows * a_.dimension));
        Tile::pack_rows(a_.table + row * a_.dimension, rows, a_.dimension, packed_.data());
        int32_t start[Tile::kTileQueries] = {};
        for (int64_t w = 0; w < count; w += Tile::kTileQueries) {
            const int left = static_cast<int>(std::min<int64_t>(Tile::kTileQueries, count - w));
            for (int q = 0; q < left; ++q) {
                Tile::pack_query(query_ + wanted[w + q] * a_.dimension, a_.dimension, q, tile_.data());
                start[q] = start_[static_cast<size_t>(wanted[w + q])];
            }
            for (int64_t tile = 0; tile < rows; tile += Tile::kTileRows) {
                typename Tile::Scores score;
                Tile::multiply(start, tile_.data(), packed_.data() + tile * a_.dimension, a_.dimension, score);
                if (tile + Tile::kTileRows > rows) Tile::hide(score, rows - tile);
                for (int q = 0; q < left; ++q) keep(score + q * Tile::kTileVectors, row + tile, best_ + wanted[w + q] * a_.k);
            }
        }
    }

private:
    using Tile = Tiles<Isa>;

    /* Few scores of a tile are among the best. Rows rise from run to run, so that of equal scores the one that is there
     * stays. */
    void keep(const typename Tile::Vec *score, int64_t row, uint64_t *best) const {
        int32_t least, number;
        unpack(best[a_.k - 1], &least, &number);
        for (int v = 0; v < Tile::kTileVectors; ++v, row += Tile::kLanes) {
            for (uint32_t left = Isa::lanes_of(score[v] > Tile::splat(least)); left; left &= left - 1) {
                const int lane = __builtin_ctz(left);
                offer(best, a_.k, score[v][lane], static_cast<int32_t>(row + lane));
            }
        }
    }

    const localmatch::RerankArguments &a_;
    const int8_t *query_;
    uint64_t *best_;
    std::vector<int32_t> start_;                     /* of each query of the unit */
    std::vector<typename Tile::QueryElement> tile_;  /* a tile of queries */
    std::vector<typename Tile::RowElement> packed_;  /* a run */
};

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
    RunScorer<Isa> scorer(a, first, count, best);
    /* Now end[run + 1] is where the queries of a run begin, and end[run + 2] where those of the next do. */
    for (int64_t run = 0; run < a.runs; ++run) {
        const int64_t from = end[static_cast<size_t>(run + 1)], to = end[static_cast<size_t>(run + 2)];
        scorer.score(run, wanted.data() + from, to - from);
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

}  // namespace
#endif
