/* The loops of match_topk, once for every instruction set. An Isa says how many lanes and tiles there are and how
 * groups of components are multiplied; everything else is GCC vector extensions, which any compiler target lowers.
 *
 *   score[q][r] = sum over d of query[q][d] * reference[r][d]      int8 -> int32, or float -> float
 *
 * A tile of kQueries x (kVectors * kLanes) scores stays in registers over all components, so that the matrix of
 * scores is never written: each lane keeps the best row that it saw, and lanes are reduced once a chunk of rows.
 */
#ifndef LOCALMATCH_MATCH_DRIVER_H
#define LOCALMATCH_MATCH_DRIVER_H

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "isa.h"

namespace {

/* What float forms share, whatever their instructions: descriptors are taken as they are, one component at a time. */
template <int kBytes>
struct FloatIsa {
    typedef float Vec __attribute__((vector_size(kBytes)));
    typedef int32_t Lanes __attribute__((vector_size(kBytes)));
    using Element = float;
    using Score = float;
    using QueryElement = float;
    using RowElement = float;
    static constexpr int kGroup = 1;
    static constexpr float kLowest = -std::numeric_limits<float>::infinity();
    static constexpr float kRowBias = 0;

    static void convert(const float *from, float *to) { *to = *from; }
};

template <class Isa>
struct Matcher {
    using Element = typename Isa::Element; /* of descriptors */
    using Score = typename Isa::Score;
    using Vec = typename Isa::Vec;     /* lanes of scores */
    using Lanes = typename Isa::Lanes; /* as many int32_t */
    using Arguments = localmatch::MatchArguments<Element, Score>;
    using QueryElement = typename Isa::QueryElement;
    using RowElement = typename Isa::RowElement;
    static constexpr int kLanes = sizeof(Vec) / sizeof(Score);
    static constexpr int kTileQueries = Isa::kQueries, kTileVectors = Isa::kVectors;
    static constexpr int kTileRows = kTileVectors * kLanes;
    static constexpr int64_t kPackedBytes = 192 * 1024; /* of the packed rows of a chunk: stays in the L2 cache */

    const Arguments &a;
    const int64_t query_first, queries; /* of this unit */
    int64_t groups = a.dimension / Isa::kGroup;
    int64_t chunk_rows = std::max<int64_t>(kPackedBytes / (a.dimension * sizeof(RowElement)) / kTileRows, 1) * kTileRows;
    std::vector<QueryElement> query;
    std::vector<RowElement> packed;
    std::vector<Score> start;       /* what a sum starts from, a query */
    std::vector<Score> row_best;    /* best score of each row of a chunk, and whose; only for the reference side */
    std::vector<int32_t> row_query;

    Matcher(const Arguments &arguments, int64_t first, int64_t count)
        : a(arguments), query_first(first), queries(count) {
        const int64_t padded = (queries + kTileQueries - 1) / kTileQueries * kTileQueries;
        query.assign(static_cast<size_t>(padded * a.dimension), 0);
        start.assign(static_cast<size_t>(padded), 0);
        const Element *source = a.query + query_first * a.dimension;
        for (int64_t q = 0; q < queries; ++q) {
            Score sum = 0;
            QueryElement *tile = query.data() + q / kTileQueries * kTileQueries * a.dimension;
            for (int64_t d = 0; d < a.dimension; ++d) {
                /* [tile][group][query][component of the group], in the order in which it is read. */
                const int64_t at = (d / Isa::kGroup * kTileQueries + q % kTileQueries) * Isa::kGroup + d % Isa::kGroup;
                tile[at] = source[q * a.dimension + d];
                sum += source[q * a.dimension + d];
            }
            start[static_cast<size_t>(q)] = -Isa::kRowBias * sum;
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
            pack(row, rows);
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

    /* Rows -> [tile][group][vector][lane][component of the group], biased; rows beyond the last are zero. */
    void pack(int64_t row, int64_t rows) {
        for (int64_t tile = 0; tile < rows; tile += kTileRows) {
            RowElement *out = packed.data() + tile * a.dimension;
            for (int64_t r = 0; r < kTileRows; ++r) {
                const Element *source = a.reference + (row + tile + r) * a.dimension;
                for (int64_t g = 0; g < groups; ++g) {
                    RowElement group[Isa::kGroup] = {};
                    if (tile + r < rows) Isa::convert(source + g * Isa::kGroup, group);
                    std::memcpy(out + (g * kTileRows + r) * Isa::kGroup, group, sizeof group);
                }
            }
        }
    }

    /* One tile of queries against a chunk of rows. */
    template <bool kSecond, bool kRowSide>
    void match(int64_t q0, int64_t row, int64_t rows, int64_t at) {
        Vec best[kTileQueries], second[kTileQueries];
        Lanes index[kTileQueries];
        for (int q = 0; q < kTileQueries; ++q) {
            best[q] = second[q] = splat(Isa::kLowest);
            index[q] = Lanes{} - 1;
        }
        for (int64_t tile = 0; tile < rows; tile += kTileRows) {
            Vec score[kTileQueries * kTileVectors];
            multiply(q0, packed.data() + tile * a.dimension, score,
                     std::make_index_sequence<kTileQueries * kTileVectors>{},
                     std::make_index_sequence<kTileVectors>{});
            if (tile + kTileRows > rows) hide(score, rows - tile);
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

    /* The sums of products of one tile. Indices are template constants, or GCC keeps the sums in memory. */
    template <size_t... kSum, size_t... kVector>
    void multiply(int64_t q0, const RowElement *rows, Vec (&score)[kTileQueries * kTileVectors],
                  std::index_sequence<kSum...>, std::index_sequence<kVector...>) const {
        const Score *from = start.data() + q0;
        const QueryElement *own = query.data() + q0 * a.dimension;
        Vec sum[] = {splat(from[kSum / kTileVectors])...};
        for (int64_t g = 0; g < groups; ++g) {
            const typename Isa::Row row[] = {Isa::load(rows + kVector * kLanes * Isa::kGroup)...};
            (Isa::multiply(sum[kSum], row[kSum % kTileVectors],
                           Isa::broadcast(own + kSum / kTileVectors * Isa::kGroup)),
             ...);
            rows += kTileRows * Isa::kGroup;
            own += kTileQueries * Isa::kGroup;
        }
        ((score[kSum] = sum[kSum]), ...);
    }

    /* Rows beyond the last of a chunk win nothing. */
    static void hide(Vec (&score)[kTileQueries * kTileVectors], int64_t rows) {
        for (int v = 0; v < kTileVectors; ++v) {
            const Lanes there = Isa::iota() + v * kLanes < static_cast<int32_t>(rows) + Lanes{};
            for (int q = 0; q < kTileQueries; ++q) {
                Vec &one = score[q * kTileVectors + v];
                one = there ? one : splat(Isa::kLowest);
            }
        }
    }

    /* The best query of each row of a vector; queries rise, so that the first of equal ones stays. */
    void row_side(int64_t q0, int64_t at, const Vec (&score)[kTileQueries * kTileVectors], int v) {
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

    static Vec splat(Score value) { return Vec{} + value; }
};

template <class Isa>
void match_unit(const typename Matcher<Isa>::Arguments &arguments, int64_t first_segment, int64_t segments,
                int64_t first, int64_t count) {
    Matcher<Isa> matcher(arguments, first, count);
    for (int64_t s = first_segment; s < first_segment + segments; ++s) matcher.run(s);
}

}  // namespace
#endif
