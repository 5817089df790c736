/* A 3 x 3 convolution of bytes: the loops. Lanes are neighbouring pixels, so that a tap is the same row read from another
 * column; an Isa multiplies a group of their channels with one output's weights. The definition is
 * localmatch/kernels/convolve.py.
 */
#ifndef LOCALMATCH_CONV_DRIVER_H
#define LOCALMATCH_CONV_DRIVER_H

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "isa.h"

namespace {

constexpr int kBlock = 4; /* channels that lie together in memory */
constexpr int kSide = 3, kTaps = kSide * kSide;

/* The stride is a constant, or every address costs a division. */
template <class Isa, int kStride>
class Convolution {
    using Vec = typename Isa::Vec;
    using RowElement = typename Isa::RowElement;
    using QueryElement = typename Isa::QueryElement;
    typedef float Floats __attribute__((vector_size(sizeof(Vec))));
    static constexpr int kLanes = sizeof(Vec) / sizeof(int32_t);
    static constexpr int kGroup = Isa::kGroup, kOutputs = std::max(Isa::kQueries, kBlock);
    /* Narrow tiles: views are often hardly wider than 32 cells. */
    static constexpr int kVectors = std::min(Isa::kVectors, 32 / kLanes);
    static constexpr int kPixels = kVectors * kLanes;
    /* Isa::convert takes signed bytes: activations go in with this taken, which every sum gets back, but for what the
     * instruction set adds itself. */
    static constexpr int32_t kTaken = 128;

public:
    Convolution(const localmatch::ConvArguments &a, int64_t first, int64_t rows)
        : a_(a), first_(first), rows_(rows), groups_(a.inputs / kGroup),
          columns_((a.out_width + kPixels - 1) / kPixels * kPixels + kSide) {
        pack_input();
        pack_weights();
    }

    void run() const {
        Vec sum[kOutputs * kVectors];
        for (int64_t y = 0; y < rows_; ++y) {
            for (int64_t x = 0; x < a_.out_width; x += kPixels) {
                for (int64_t output = 0; output < a_.outputs; output += kOutputs) {
                    multiply(y, x, output, sum, std::make_index_sequence<kOutputs * kVectors>{},
                             std::make_index_sequence<kVectors>{});
                    store(y, x, output, sum);
                }
            }
        }
    }

private:
    /* The rows that the band sees -> [row][group][column of either parity][column][component], borders included. */
    void pack_input() {
        const int64_t seen = (rows_ - 1) * kStride + kSide, line = kStride * columns_ * kGroup;
        RowElement nothing[kGroup];
        int8_t taken[kBlock];
        std::fill_n(taken, kBlock, static_cast<int8_t>(-kTaken));
        Isa::convert(taken, nothing);
        input_.assign(seen * groups_ * line, nothing[0]);
        for (int64_t r = 0; r < seen; ++r) {
            const int64_t y = first_ * kStride + r - 1;
            if (y < 0 || y >= a_.height) continue;
            for (int64_t block = 0; block < a_.inputs / kBlock; ++block) {
                const uint8_t *from = a_.input + (block * a_.height + y) * a_.width * kBlock;
                RowElement *to = input_.data() + (r * groups_ + block * (kBlock / kGroup)) * line;
                for (int64_t x = 0; x < kStride; ++x) { /* the first pixel of either parity; the border is before it */
                    const int64_t place = (x + 1) % kStride * columns_ + (x + 1) / kStride;
                    pack_columns(from + x * kBlock, (a_.width - x + kStride - 1) / kStride, to + place * kGroup, line);
                }
            }
        }
    }

    /* Every `kStride`th pixel of a row, a block of its channels. */
    static void pack_columns(const uint8_t *from, int64_t count, RowElement *to, int64_t line) {
        for (int64_t x = 0; x < count; ++x) {
            int8_t taken[kBlock];
            uint32_t word;
            std::memcpy(&word, from + x * kStride * kBlock, sizeof word);
            word ^= 0x80808080u;
            std::memcpy(taken, &word, sizeof word);
            for (int g = 0; g < kBlock / kGroup; ++g) Isa::convert(taken + g * kGroup, to + g * line + x * kGroup);
        }
    }

    /* [outputs, inputs, 3, 3] -> [tile of outputs][tap][group][output][component] */
    void pack_weights() {
        weights_.resize(a_.outputs * kTaps * a_.inputs);
        start_.resize(a_.outputs);
        for (int64_t o = 0; o < a_.outputs; ++o) {
            int32_t total = 0;
            for (int64_t c = 0; c < a_.inputs; ++c) {
                const int8_t *from = a_.weights + (o * a_.inputs + c) * kTaps;
                for (int64_t tap = 0; tap < kTaps; ++tap) {
                    const int64_t row = (o / kOutputs * kTaps + tap) * groups_ + c / kGroup;
                    weights_[(row * kOutputs + o % kOutputs) * kGroup + c % kGroup] = from[tap];
                    total += from[tap];
                }
            }
            start_[o] = a_.bias[o] + (kTaken - Isa::kRowBias) * total;
        }
    }

    /* The sums of a tile. Indices are template constants, or GCC keeps the sums in memory. */
    template <size_t... kSum, size_t... kVector>
    void multiply(int64_t y, int64_t x, int64_t output, Vec *result, std::index_sequence<kSum...>,
                  std::index_sequence<kVector...>) const {
        const int64_t line = kStride * columns_ * kGroup;
        const QueryElement *weights = weights_.data() + output * kTaps * a_.inputs;
        Vec sum[] = {(Vec{} + start_[output + kSum / kVectors])...};
        for (int64_t tap = 0; tap < kTaps; ++tap) {
            const int64_t down = tap / kSide, across = tap % kSide;
            const RowElement *rows = input_.data() + (y * kStride + down) * groups_ * line +
                                     (across % kStride * columns_ + x + across / kStride) * kGroup;
            for (int64_t g = 0; g < groups_; ++g, rows += line, weights += kOutputs * kGroup) {
                const typename Isa::Row row[] = {Isa::load(rows + kVector * kLanes * kGroup)...};
                (Isa::multiply(sum[kSum], row[kSum % kVectors], Isa::broadcast(weights + kSum / kVectors * kGroup)), ...);
            }
        }
        ((result[kSum] = sum[kSum]), ...);
    }

    /* Sums -> bytes: scaled, rounded half to even, clipped. */
    void store(int64_t y, int64_t x, int64_t output, const Vec *sum) const {
        for (int block = 0; block < kOutputs / kBlock; ++block) {
            uint8_t *to = a_.output + (((output / kBlock + block) * a_.out_height + first_ + y) * a_.out_width + x) * kBlock;
            for (int v = 0; v < kVectors; ++v) {
                const int64_t there = a_.out_width - x - v * kLanes;
                if (there <= 0) break;
                Vec word{};
                for (int i = 0; i < kBlock; ++i) {
                    const int q = block * kBlock + i;
                    Floats value = __builtin_convertvector(sum[q * kVectors + v], Floats) * a_.scale[output + q];
                    const Floats none{}, most = none + 255.0f;
                    value = value > none ? value : none;
                    value = value < most ? value : most;
                    /* Adding 1.5 * 2^23 leaves the rounded number in the lowest bits. */
                    value += 12582912.0f;
                    Vec bits;
                    std::memcpy(&bits, &value, sizeof bits);
                    word |= (bits & 255) << (8 * i);
                }
                if (there >= kLanes) {
                    std::memcpy(to + v * kLanes * kBlock, &word, sizeof word);
                } else {
                    std::memcpy(to + v * kLanes * kBlock, &word, there * kBlock);
                }
            }
        }
    }

    const localmatch::ConvArguments &a_;
    int64_t first_, rows_, groups_, columns_;
    std::vector<RowElement> input_;
    std::vector<QueryElement> weights_;
    std::vector<int32_t> start_;
};

/* A band of rows of the result. */
template <class Isa>
void conv_unit(const localmatch::ConvArguments &a, int64_t first, int64_t rows) {
    if (a.stride == 1) {
        Convolution<Isa, 1>(a, first, rows).run();
    } else {
        Convolution<Isa, 2>(a, first, rows).run();
    }
}

}  // namespace
#endif
