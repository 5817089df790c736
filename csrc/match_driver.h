/* The loops of match_topk. The matrix of scores is never written: of each tile, each lane keeps the best row that it
 * saw, and lanes are reduced once a chunk of rows.
 */
#ifndef LOCALMATCH_MATCH_DRIVER_H
#define LOCALMATCH_MATCH_DRIVER_H

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "isa.h"
#include "tiles.h"

namespace {

template <class Isa>
struct Matcher {
    using Tile = Tiles<Isa>;
    using Element = typename Tile::Element;
    using Score = typename Tile::Score;
    using Vec = typename Tile::Vec;
    using Lanes = typename Tile::Lanes;
    using Arguments = localmatch::MatchArguments<Element, Score>;
    static constexpr int kLanes = Tile::kLanes, kTileQueries = Tile::kTileQueries, kTileVectors = Tile::kTileVectors;
    static constexpr int kTileRows = Tile::kTileRows;
    static constexpr int64_t kPackedBytes = 192 * 1024; /* of the packed rows of a chunk: stays in the L2 cache */

    const Arguments &a;
    const int64_t query_first, queries; /* of this unit */
    int64_t chunk_rows = std::max<int64_t>(kPackedBytes / (a.dimension * sizeof(typename Tile::RowElement)) / kTileRows, 1) * kTileRows;
    std::vector<typename Tile::QueryElement> query;
    std::vector<typename Tile::RowElement> packed;
    std::vector<Score> start;       /* what a sum starts from, a query */
    std::vector<Score> row_best;    /* best score of each row of a chunk, and whose; only for the reference side */
    std::vector<int32_t> row_query;

    Matcher(const Arguments &arguments, int64_t first, int64_t count)
        : a(arguments), query_first(first), queries(count) {
        const int64_t padded = (queries + kTileQueries - 1) / kTileQueries * kTileQueries;
        query.assign(static_cast<size_t>(padded * a.dimension), 0);
        start.assign(static_cast<size_t>(padded), 0);
        for (int64_t q = 0; q < queries; ++q) {
            const Element *source = a.query + (query_first + q) * a.dimension;
            Tile::pack_query(source, a.dimension, static_cast<int>(q % kTileQueries),
                             query.data() + q / kTileQueries * kTileQueries * a.dimension);
            start[static_cast<size_t>(q)] = Tile::start_of(source, a.dimension);
        }
        packed.resize(static_cast<size_t>(chunk_rows * a.dimension));
        if (a.row_best) {
            row_best.resize(static_cast<size_t>(chunk_rows));
            row_query.resize(static_cast<size_t>(chunk_rows));
        }
    }

    void run(int64_t segment) {
        const int64_t first = a.offsets[segment], last = a.offsets[segment + 1];
        const int64_t at = segment * a.queries + query_first;
        for (int64_t q = 0; q < queries; ++q) {
            a.best[at + q] = Isa::kLowest;
            a.index[at + q] = -1;
            if (a.second) a.second[at + q] = Isa::kLowest;
        }
        for (int64_t row = first; row < last; row += chunk_rows) {
            const int64_t rows = std::min(chunk_rows, last - row);
            Tile::pack_rows(a.reference + row * a.dimension, rows, a.dimension, packed.data());
            if (a.row_best) {
                std::fill(row_best.begin(), row_best.end(), Isa::kLowest);
                std::fill(row_query.begin(), row_query.end(), -1);
            }
            for (int64_t q = 0; q < queries; q += kTileQueries) {
                if (a.row_best) {
                    match<true, true>(q, row, rows, at);
                } else if (a.second) {
                    match<true, false>(q, row, rows, at);
                } else {
                    match<false, false>(q, row, rows, at);
                }
            }
            if (a.row_best) localmatch::offer_rows(a, row, rows, row_best.data(), row_query.data());
        }
    }

    /* One tile of queries against a chunk of rows. */
    template <bool kSecond, bool kRowSide>
    void match(int64_t q0, int64_t row, int64_t rows, int64_t at) {
        Vec best[kTileQueries], second[kTileQueries];
        Lanes index[kTileQueries];
        for (int q = 0; q < kTileQueries; ++q) {
            best[q] = second[q] = Tile::splat(Isa::kLowest);
            index[q] = Lanes{} - 1;
        }
        for (int64_t tile = 0; tile < rows; tile += kTileRows) {
            typename Tile::Scores score;
            Tile::multiply(start.data() + q0, query.data() + q0 * a.dimension, packed.data() + tile * a.dimension,
                           a.dimension, score);
            if (tile + kTileRows > rows) Tile::hide(score, rows - tile);
            for (int q = 0; q < kTileQueries; ++q) {
                Vec high = best[q], low = second[q];
                Lanes where = index[q];
                for (int v = 0; v < kTileVectors; ++v) {
                    const Vec found = score[q * kTileVectors + v];
                    const auto higher = found > high;
                    if (kSecond) {
                        const Vec lower = higher ? high : found;
                        low = lower > low ? lower : low;
                    }
                    high = higher ? found : high;
                    where = higher ? Isa::iota() + static_cast<int32_t>(tile + v * kLanes) : where;
                }
                best[q] = high;
                second[q] = low;
                index[q] = where;
            }
            for (int v = 0; kRowSide && v < kTileVectors; ++v) row_side(q0, tile + v * kLanes, score, v);
        }
        for (int64_t q = 0; q < std::min<int64_t>(kTileQueries, queries - q0); ++q) {
            reduce<kSecond>(best[q], second[q], index[q], row, at + q0 + q);
        }
    }

    /* The best query of each row of a vector; queries rise, so that the first of equal ones stays. */
    void row_side(int64_t q0, int64_t at, const typename Tile::Scores &score, int v) {
        Vec best;
        Lanes who;
        std::memcpy(&best, row_best.data() + at, sizeof best);
        std::memcpy(&who, row_query.data() + at, sizeof who);
        for (int q = 0; q < kTileQueries && q0 + q < queries; ++q) {
            const auto higher = score[q * kTileVectors + v] > best;
            best = higher ? score[q * kTileVectors + v] : best;
            who = higher ? Lanes{} + static_cast<int32_t>(query_first + q0 + q) : who;
        }
        std::memcpy(row_best.data() + at, &best, sizeof best);
        std::memcpy(row_query.data() + at, &who, sizeof who);
    }

    /* Lanes -> one best (of equal ones the lowest row) and second, merged with those of the chunks before. */
    template <bool kSecond>
    void reduce(const Vec &best, const Vec &second, const Lanes &index, int64_t row, int64_t at) {
        Score high = best[0], low = Isa::kLowest;
        int32_t where = index[0];
        for (int lane = 1; lane < kLanes; ++lane) {
            const Score score = best[lane];
            if (score > high || (score == high && index[lane] < where)) {
                low = std::max(low, high);
                high = score;
                where = index[lane];
            } else {
                low = std::max(low, score);
            }
        }
        if (kSecond && a.second) {
            for (int lane = 0; lane < kLanes; ++lane) low = std::max<Score>(low, second[lane]);
            a.second[at] = std::max(a.second[at], std::max(low, std::min(a.best[at], high)));
        }
        if (high > a.best[at]) {
            a.best[at] = high;
            a.index[at] = static_cast<int32_t>(row + where);
        }
    }
};

template <class Isa>
void match_unit(const typename Matcher<Isa>::Arguments &arguments, int64_t first_segment, int64_t segments,
                int64_t first, int64_t count) {
    Matcher<Isa> matcher(arguments, first, count);
    for (int64_t s = first_segment; s < first_segment + segments; ++s) matcher.run(s);
}

}  // namespace
#endif
