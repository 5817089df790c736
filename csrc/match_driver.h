/* The loops of match_topk. The matrix of scores is never written: of each tile, each lane keeps the best row that it
 * saw, and lanes are reduced once a segment.
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

    /* What the lanes of a query saw. (Without alignas, GCC takes the alignment of a target that has no such vectors.) */
    struct alignas(sizeof(Vec)) Kept {
        Vec best, second;
        Lanes index; /* from the first row of the segment on */
    };

    const Arguments &a;
    const int64_t query_first, queries; /* of this unit */
    int64_t chunk_rows = std::max<int64_t>(kPackedBytes / (a.dimension * sizeof(typename Tile::RowElement)) / kTileRows, 1) * kTileRows;
    std::vector<typename Tile::QueryElement> query;
    std::vector<typename Tile::RowElement> packed;
    std::vector<Score> start;       /* what a sum starts from, a query */
    std::vector<Kept> kept;         /* of the chunks before, a query */
    std::vector<Score> row_best;    /* best score of each row of a chunk, and whose; only for the reference side */
    std::vector<int32_t> row_query;

    Matcher(const Arguments &arguments, int64_t first, int64_t count)
        : a(arguments), query_first(first), queries(count) {
        const int64_t padded = (queries + kTileQueries - 1) / kTileQueries * kTileQueries;
        query.assign(static_cast<size_t>(padded * a.dimension), 0);
        start.assign(static_cast<size_t>(padded), 0);
        kept.resize(static_cast<size_t>(padded));
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
        const Vec lowest = Tile::splat(Isa::kLowest);
        std::fill(kept.begin(), kept.end(), Kept{lowest, lowest, Lanes{} - 1});
        for (int64_t row = first; row < last; row += chunk_rows) {
            const int64_t rows = std::min(chunk_rows, last - row);
            Tile::pack_rows(a.reference + row * a.dimension, rows, a.dimension, packed.data());
            if (a.row_best) {
                std::fill(row_best.begin(), row_best.end(), Isa::kLowest);
                std::fill(row_query.begin(), row_query.end(), -1);
            }
            for (int64_t q = 0; q < queries; q += kTileQueries) {
                if (a.row_best) {
                    a.second ? match<true, true>(q, row - first, rows) : match<false, true>(q, row - first, rows);
                } else {
                    a.second ? match<true, false>(q, row - first, rows) : match<false, false>(q, row - first, rows);
                }
            }
            if (a.row_best) localmatch::offer_rows(a, row, rows, row_best.data(), row_query.data());
        }
        const int64_t at = segment * a.queries + query_first;
        for (int64_t q = 0; q < queries; ++q) reduce(kept[static_cast<size_t>(q)], first, at + q);
    }

    /* One tile of queries against a chunk of rows, which begins so many rows after its segment. */
    template <bool kSecond, bool kRowSide>
    void match(int64_t q0, int64_t after, int64_t rows) {
        Kept tile_kept[kTileQueries];
        std::copy_n(kept.data() + q0, kTileQueries, tile_kept);
        for (int64_t tile = 0; tile < rows; tile += kTileRows) {
            typename Tile::Scores score;
            Tile::multiply(start.data() + q0, query.data() + q0 * a.dimension, packed.data() + tile * a.dimension,
                           a.dimension, score);
            if (tile + kTileRows > rows) Tile::hide(score, rows - tile);
            for (int q = 0; q < kTileQueries; ++q) {
                Vec high = tile_kept[q].best, low = tile_kept[q].second;
                Lanes where = tile_kept[q].index;
                for (int v = 0; v < kTileVectors; ++v) {
                    const Vec found = score[q * kTileVectors + v];
                    const auto higher = found > high;
                    if (kSecond) {
                        const Vec lower = higher ? high : found;
                        low = lower > low ? lower : low;
                    }
                    high = higher ? found : high;
                    where = higher ? Isa::iota() + static_cast<int32_t>(after + tile + v * kLanes) : where;
                }
                tile_kept[q] = {high, low, where};
            }
            for (int v = 0; kRowSide && v < kTileVectors; ++v) row_side(q0, tile + v * kLanes, score, v);
        }
        std::copy_n(tile_kept, kTileQueries, kept.data() + q0);
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

    /* Lanes -> one best, of equal ones the lowest row, and second. */
    void reduce(const Kept &lanes, int64_t first, int64_t at) {
        const Vec high = Tile::splat(highest<Score>(lanes.best));
        const Lanes last = Lanes{} + std::numeric_limits<int32_t>::max();
        const Lanes rows = lanes.best == high ? lanes.index : last;
        const int32_t row = ~highest<int32_t>(~rows);
        a.best[at] = high[0];
        a.index[at] = row < 0 ? -1 : static_cast<int32_t>(first + row);
        if (a.second) a.second[at] = highest<Score>(rows == Lanes{} + row ? lanes.second : lanes.best);
    }

    template <class Value, class Vector>
    static Value highest(const Vector &lanes) {
        Value values[kLanes];
        std::memcpy(values, &lanes, sizeof values);
        return *std::max_element(values, values + kLanes);
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
