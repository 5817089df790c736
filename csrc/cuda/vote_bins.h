/* What votes are, the bins that each falls into, and which of two bins is stronger. */
#ifndef LOCALMATCH_CUDA_VOTE_BINS_H
#define LOCALMATCH_CUDA_VOTE_BINS_H

#include "launch.h"

namespace {

constexpr int kOverlap = 4, kBins = 2 * kOverlap, kLevels = 16;
constexpr int kCoordinateBits = 24, kWarp = 32;
constexpr int64_t kCoordinateBias = (int64_t)1 << (kCoordinateBits - 1);

typedef unsigned long long Word;
constexpr Word kEmpty = ~0ull;

struct Votes {
    const int64_t *offsets;
    const int32_t *query_patch;
    const int64_t *reference_patch;
    const int32_t *query_xy, *reference_xy, *level, *weight, *inverse_ratio;
    int32_t half_bin;
};

/* The peaks of all groups, [groups, most], best first. */
struct Peaks {
    int64_t most;
    int64_t *score;
    int32_t *bin;
};

/* A bin of scale and shift; of the four that overlap at a vote, this is the one with the highest x and y. */
struct Bin {
    int32_t level, y, x;
};

/* One of the four bins that overlap at a vote. */
__device__ Bin one_of(const Bin &last, int32_t which) {
    return {last.level, last.y - which / 2, last.x - which % 2};
}

/* A thread's place in its warp, and the warp's in the block; blocks that are smaller are one warp. */
struct Warp {
    int32_t lane, lanes, number, all;
};

__device__ Warp this_warp() {
    const int32_t threads = (int32_t)blockDim.x, me = (int32_t)threadIdx.x, lanes = threads < kWarp ? threads : kWarp;
    return {me % lanes, lanes, me / lanes, threads / lanes};
}

__device__ int32_t floor_div(int32_t value, int32_t divisor) {
    return value / divisor - (value % divisor != 0 && value < 0);
}

/* The last of the four bins that a vote falls into at its level (upper = 1) or the one below, which may be none. */
__device__ Bin bin_of(const Votes &v, int64_t i, int32_t upper) {
    const int32_t level = v.level[i] - 1 + upper;
    if (level < 0 || level >= kLevels) return {-1, 0, 0};
    int32_t corner[2];
    for (int axis = 0; axis < 2; ++axis) {
        const int64_t scaled = v.reference_xy[2 * i + axis] * (int64_t)v.inverse_ratio[level];
        corner[axis] = floor_div((int32_t)((scaled + 32768) >> 16) - v.query_xy[2 * i + axis], v.half_bin);
    }
    return {level, corner[1], corner[0]};
}

/* Keys rise by level, y and x. */
__device__ Word key_of(const Bin &b) {
    return ((Word)(b.level + 1) << (2 * kCoordinateBits)) | ((Word)(b.y + kCoordinateBias) << kCoordinateBits) |
           (Word)(b.x + kCoordinateBias);
}

__device__ Bin bin_of(Word key) {
    const Word mask = ((Word)1 << kCoordinateBits) - 1;
    return {(int32_t)(key >> (2 * kCoordinateBits)) - 1, (int32_t)(((key >> kCoordinateBits) & mask) - kCoordinateBias),
            (int32_t)((key & mask) - kCoordinateBias)};
}

/* Writes that a group has no peaks, before those that it has are put; some threads share it. */
__device__ void put_none(const Peaks &out, int64_t group, int32_t me, int32_t all) {
    for (int64_t at = group * out.most + me; at < (group + 1) * out.most; at += all) {
        out.score[at] = 0;
        out.bin[3 * at] = out.bin[3 * at + 1] = out.bin[3 * at + 2] = 0;
    }
}

/* Writes a group's peak that `stronger` others beat. */
__device__ void put(const Peaks &out, int64_t group, int32_t stronger, Word score, const Bin &b) {
    if (stronger >= out.most) return;
    const int64_t at = group * out.most + stronger;
    out.score[at] = (int64_t)score;
    out.bin[3 * at] = b.level;
    out.bin[3 * at + 1] = b.y;
    out.bin[3 * at + 2] = b.x;
}

}  // namespace

#endif
