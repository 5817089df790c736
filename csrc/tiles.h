/* Tiles of scores, once for every instruction set. An Isa says how many lanes and tiles there are and how groups of
 * components are multiplied; everything else is GCC vector extensions, which any compiler target lowers.
 *
 *   score[q][r] = sum over d of query[q][d] * row[r][d]      int8 -> int32, or float -> float
 *
 * A tile of kQueries x (kVectors * kLanes) scores stays in registers over all components.
 */
#ifndef LOCALMATCH_TILES_H
#define LOCALMATCH_TILES_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

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
    static constexpr int kGroup = 1, kRowComponents = 0;
    static constexpr float kLowest = -std::numeric_limits<float>::infinity();
    static constexpr float kRowBias = 0;

    static void convert(const float *from, float *to) { *to = *from; }
};

template <class Isa>
struct Tiles {
    using Element = typename Isa::Element; /* of descriptors */
    using Score = typename Isa::Score;
    using Vec = typename Isa::Vec;     /* lanes of scores */
    using Lanes = typename Isa::Lanes; /* as many int32_t */
    using QueryElement = typename Isa::QueryElement;
    using RowElement = typename Isa::RowElement;
    static constexpr int kLanes = sizeof(Vec) / sizeof(Score);
    static constexpr int kTileQueries = Isa::kQueries, kTileVectors = Isa::kVectors;
    static constexpr int kTileRows = kTileVectors * kLanes;
    using Scores = Vec[kTileQueries * kTileVectors];

    /* One query into its place in a tile, [group][query][component of the group]. */
    static void pack_query(const Element *source, int64_t dimension, int place, QueryElement *tile) {
        QueryElement *out = tile + place * Isa::kGroup;
        for (int64_t d = 0; d < dimension; d += Isa::kGroup, out += kTileQueries * Isa::kGroup) {
            for (int i = 0; i < Isa::kGroup; ++i) out[i] = source[d + i];
        }
    }

    /* What the sums of a query start from. */
    static Score start_of(const Element *source, int64_t dimension) {
        Score sum = 0;
        for (int64_t d = 0; d < dimension && Isa::kRowBias != 0; ++d) sum += source[d];
        return -Isa::kRowBias * sum;
    }

    /* Rows -> [tile][group][vector][lane][component of the group], biased; rows beyond the last are zero. Some
     * instruction sets convert the same components of kLanes rows at once, so many as kRowComponents says. */
    static void pack_rows(const Element *source, int64_t rows, int64_t dimension, RowElement *packed) {
        for (int64_t tile = 0; tile < rows; tile += kTileRows, packed += kTileRows * dimension) {
            const int64_t there = std::min<int64_t>(kTileRows, rows - tile);
            if (there < kTileRows) std::fill_n(packed, kTileRows * dimension, RowElement{});
            int64_t done = 0;
            if constexpr (Isa::kRowComponents != 0) {
                for (; dimension % Isa::kRowComponents == 0 && done + kLanes <= there; done += kLanes) {
                    for (int64_t d = 0; d < dimension; d += Isa::kRowComponents) {
                        Isa::convert_rows(source + (tile + done) * dimension + d, dimension,
                                          packed + done * Isa::kGroup + d * kTileRows, kTileRows * Isa::kGroup);
                    }
                }
            }
            for (int64_t r = done; r < there; ++r) {
                const Element *row = source + (tile + r) * dimension;
                RowElement *out = packed + r * Isa::kGroup;
                for (int64_t d = 0; d < dimension; d += Isa::kGroup, out += kTileRows * Isa::kGroup) {
                    Isa::convert(row + d, out);
                }
            }
        }
    }

    /* The scores of a tile of queries and one of rows. */
    static void multiply(const Score *start, const QueryElement *queries, const RowElement *rows, int64_t dimension,
                         Scores &score) {
        multiply(start, queries, rows, dimension / Isa::kGroup, score,
                 std::make_index_sequence<kTileQueries * kTileVectors>{}, std::make_index_sequence<kTileVectors>{});
    }

    /* Rows beyond the last win nothing. */
    static void hide(Scores &score, int64_t rows) {
        for (int v = 0; v < kTileVectors; ++v) {
            const Lanes there = Isa::iota() + v * kLanes < static_cast<int32_t>(rows) + Lanes{};
            for (int q = 0; q < kTileQueries; ++q) {
                Vec &one = score[q * kTileVectors + v];
                one = there ? one : splat(Isa::kLowest);
            }
        }
    }

    static Vec splat(Score value) { return Vec{} + value; }

private:
    /* Indices are template constants, or GCC keeps the sums in memory. */
    template <size_t... kSum, size_t... kVector>
    static void multiply(const Score *start, const QueryElement *queries, const RowElement *rows, int64_t groups,
                         Scores &score, std::index_sequence<kSum...>, std::index_sequence<kVector...>) {
        Vec sum[] = {splat(start[kSum / kTileVectors])...};
        for (int64_t g = 0; g < groups; ++g) {
            const typename Isa::Row row[] = {Isa::load(rows + kVector * kLanes * Isa::kGroup)...};
            (Isa::multiply(sum[kSum], row[kSum % kTileVectors],
                           Isa::broadcast(queries + kSum / kTileVectors * Isa::kGroup)),
             ...);
            rows += kTileRows * Isa::kGroup;
            queries += kTileQueries * Isa::kGroup;
        }
        ((score[kSum] = sum[kSum]), ...);
    }
};

}  // namespace
#endif
