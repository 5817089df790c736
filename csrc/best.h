/* Lists of the best scores, each packed with its number by `pack_row` so that one comparison orders them. */
#ifndef LOCALMATCH_BEST_H
#define LOCALMATCH_BEST_H

#include <climits>
#include <cstdint>

#include "isa.h"

namespace {

/* The two numbers that `pack_row` packed; what nothing was packed for. */
inline void unpack(uint64_t packed, int32_t *score, int32_t *number) {
    *score = packed ? static_cast<int32_t>(static_cast<uint32_t>(packed >> 32) ^ 0x80000000u) : INT32_MIN;
    *number = packed ? static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(packed)) : -1;
}

/* Puts a row into its place among the k best, sorted; of equal scores the lower row comes first. */
inline void offer(uint64_t *best, int64_t k, int32_t score, int32_t row) {
    const uint64_t mine = localmatch::pack_row(score, row);
    int64_t at = k - 1;
    if (mine <= best[at]) return;
    for (; at > 0 && best[at - 1] < mine; --at) best[at] = best[at - 1];
    best[at] = mine;
}

}  // namespace
#endif
