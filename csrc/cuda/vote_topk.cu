/* vote_topk on a GPU: one block a group, its histogram a hash table. The definition is localmatch/kernels/vote.py.
 *
 * Votes come in two orders, by query patch and by reference patch, so that votes of one patch lie side by side: a vote
 * counts in a bin unless a heavier one of its patch is in that bin, too. Sums and maxima of integers do not depend on the
 * order in which threads come, so results are the same bits every time.
 */
#include "launch.h"

namespace {

constexpr int kThreads = 256, kBinsOfVote = 8, kSlotsOfVote = 16;
constexpr int kCoordinateBits = 24;
constexpr int64_t kCoordinateBias = (int64_t)1 << (kCoordinateBits - 1);
constexpr unsigned long long kEmpty = ~0ull;

typedef unsigned long long Word;

struct Votes {
    const int64_t *offsets;
    const int32_t *query_patch;
    const int64_t *reference_patch;
    const int32_t *query_xy, *reference_xy, *level, *weight, *inverse_ratio;
    const int64_t *by_query, *by_reference; /* numbers of votes, group by group, sorted by patch */
    int64_t half_bin;
};

/* Scratch memory: sixteen slots a vote, so that tables are half full at most. */
struct Table {
    Word *key;
    Word *by_query, *by_reference, *peak;
    int32_t *bins; /* [votes, 8] slot of each bin of a vote, -1 below the lowest level */
};

__device__ Word pack(int64_t level, int64_t y, int64_t x) {
    return ((Word)(level + 1) << (2 * kCoordinateBits)) | ((Word)(y + kCoordinateBias) << kCoordinateBits) |
           (Word)(x + kCoordinateBias);
}

__device__ int64_t floor_div(int64_t value, int64_t divisor) {
    return value / divisor - (value % divisor != 0 && value < 0);
}

__device__ int64_t home(Word key, int64_t capacity) {
    const Word hash = (key * 0x9e3779b97f4a7c15ull) >> 32;
    return (int64_t)((hash * (Word)capacity) >> 32);
}

__device__ int64_t insert(Word *keys, int64_t capacity, Word key) {
    int64_t at = home(key, capacity);
    for (;; at = at + 1 < capacity ? at + 1 : 0) {
        const Word seen = atomicCAS(keys + at, kEmpty, key);
        if (seen == kEmpty || seen == key) return at;
    }
}

/* The slot of a key, -1 where nobody voted for it. */
__device__ int64_t find(const Word *keys, int64_t capacity, Word key) {
    int64_t at = home(key, capacity);
    while (keys[at] != key) {
        if (keys[at] == kEmpty) return -1;
        at = at + 1 < capacity ? at + 1 : 0;
    }
    return at;
}

__device__ void vote_for(const Votes &v, int64_t i, Word *keys, int64_t capacity, int32_t *bins) {
    for (int half = 0; half < 2; ++half) {
        const int32_t l = v.level[i] - 1 + half;
        int64_t corner[2] = {0, 0};
        for (int axis = 0; l >= 0 && axis < 2; ++axis) {
            const int64_t scaled = v.reference_xy[2 * i + axis] * (int64_t)v.inverse_ratio[l];
            corner[axis] = floor_div(((scaled + 32768) >> 16) - v.query_xy[2 * i + axis], v.half_bin);
        }
        for (int overlap = 0; overlap < 4; ++overlap) {
            const Word key = pack(l, corner[1] - overlap / 2, corner[0] - overlap % 2);
            bins[i * kBinsOfVote + 4 * half + overlap] = l < 0 ? -1 : (int32_t)insert(keys, capacity, key);
        }
    }
}

__device__ bool in_bin(const int32_t *bins, int64_t vote, int32_t bin) {
    for (int j = 0; j < kBinsOfVote; ++j) {
        if (bins[vote * kBinsOfVote + j] == bin) return true;
    }
    return false;
}

/* Adds the vote at position k of an order to its bins, where it is the heaviest of its patch; of equal ones the first. */
template <class Patch>
__device__ void add_once(const Votes &v, const Patch *patch, const int64_t *order, int64_t first, int64_t last,
                         int64_t k, const int32_t *bins, Word *sums) {
    const int64_t vote = order[k];
    for (int j = 0; j < kBinsOfVote; ++j) {
        const int32_t bin = bins[vote * kBinsOfVote + j];
        bool counts = bin >= 0;
        for (int64_t o = k - 1; counts && o >= first && patch[order[o]] == patch[vote]; --o) {
            counts = v.weight[order[o]] < v.weight[vote] || !in_bin(bins, order[o], bin);
        }
        for (int64_t o = k + 1; counts && o < last && patch[order[o]] == patch[vote]; ++o) {
            counts = v.weight[order[o]] <= v.weight[vote] || !in_bin(bins, order[o], bin);
        }
        if (counts) atomicAdd(sums + bin, (Word)v.weight[vote]);
    }
}

/* Among the 26 neighbours; of equal ones the lowest key is the peak. Sums are minima of both sides by now. */
__device__ bool is_peak(const Word *keys, const Word *sums, int64_t capacity, int64_t slot) {
    for (int64_t offset = 0; offset < 27; ++offset) {
        const int64_t level = offset / 9 - 1, y = offset / 3 % 3 - 1, x = offset % 3 - 1;
        const Word key = keys[slot] + ((Word)level << (2 * kCoordinateBits)) + ((Word)y << kCoordinateBits) + (Word)x;
        const int64_t other = offset == 13 ? -1 : find(keys, capacity, key);
        if (other >= 0 && (sums[other] > sums[slot] || (sums[other] == sums[slot] && key < keys[slot]))) return false;
    }
    return true;
}

struct Best {
    Word score, key;
    int64_t slot;
};

__device__ bool better(const Best &a, const Best &b) {
    return a.score != b.score ? a.score > b.score : a.key < b.key;
}

/* Thread 0's is the block's best peak. */
__device__ Best strongest(const Word *keys, const Word *peak, int64_t capacity, Best *shared) {
    Best mine = {0, kEmpty, -1};
    for (int64_t s = threadIdx.x; s < capacity; s += blockDim.x) {
        const Best other = {peak[s], keys[s], s};
        if (peak[s] > 0 && better(other, mine)) mine = other;
    }
    shared[threadIdx.x] = mine;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half && better(shared[threadIdx.x + half], shared[threadIdx.x])) {
            shared[threadIdx.x] = shared[threadIdx.x + half];
        }
        __syncthreads();
    }
    return shared[0];
}

__global__ void vote_kernel(Votes v, Table t, int64_t peaks, int64_t *score, int32_t *bin) {
    __shared__ Best shared[kThreads];
    const int64_t group = blockIdx.x, first = v.offsets[group], last = v.offsets[group + 1];
    const int64_t capacity = kSlotsOfVote * (last - first), base = kSlotsOfVote * first;
    Word *keys = t.key + base, *by_query = t.by_query + base, *by_reference = t.by_reference + base;
    Word *peak = t.peak + base;
    for (int64_t s = threadIdx.x; s < capacity; s += blockDim.x) {
        keys[s] = kEmpty;
        by_query[s] = by_reference[s] = peak[s] = 0;
    }
    __syncthreads();
    for (int64_t i = first + threadIdx.x; i < last; i += blockDim.x) vote_for(v, i, keys, capacity, t.bins);
    __syncthreads();
    for (int64_t k = first + threadIdx.x; k < last; k += blockDim.x) {
        add_once(v, v.query_patch, v.by_query, first, last, k, t.bins, by_query);
        add_once(v, v.reference_patch, v.by_reference, first, last, k, t.bins, by_reference);
    }
    __syncthreads();
    for (int64_t s = threadIdx.x; s < capacity; s += blockDim.x) {
        by_query[s] = by_query[s] < by_reference[s] ? by_query[s] : by_reference[s];
    }
    __syncthreads();
    for (int64_t s = threadIdx.x; s < capacity; s += blockDim.x) {
        if (by_query[s] > 0 && is_peak(keys, by_query, capacity, s)) peak[s] = by_query[s];
    }
    __syncthreads();
    for (int64_t k = 0; k < peaks; ++k) {
        const Best best = strongest(keys, peak, capacity, shared);
        if (threadIdx.x == 0) {
            const int64_t at = group * peaks + k, mask = ((int64_t)1 << kCoordinateBits) - 1, key = (int64_t)best.key;
            const bool real = best.slot >= 0;
            score[at] = real ? (int64_t)best.score : 0;
            bin[3 * at] = real ? (int32_t)((key >> (2 * kCoordinateBits)) - 1) : 0;
            bin[3 * at + 1] = real ? (int32_t)(((key >> kCoordinateBits) & mask) - kCoordinateBias) : 0;
            bin[3 * at + 2] = real ? (int32_t)((key & mask) - kCoordinateBias) : 0;
            if (real) peak[best.slot] = 0;
        }
        __syncthreads();
    }
}

}  // namespace

extern "C" LM_API int32_t lm_cuda_vote_topk(const int64_t *offsets, int64_t groups, const int32_t *query_patch,
                                            const int64_t *reference_patch, const int32_t *query_xy,
                                            const int32_t *reference_xy, const int32_t *level, const int32_t *weight,
                                            const int32_t *inverse_ratio, const int64_t *by_query,
                                            const int64_t *by_reference, int64_t half_bin, int64_t peaks,
                                            int64_t *table, int64_t votes, int32_t *bins, int64_t *score,
                                            int32_t *bin, int64_t stream) {
    if (groups < 0 || half_bin < 1 || peaks < 0 || votes < 0) return LM_BAD_ARGUMENT;
    if (groups == 0 || peaks == 0) return LM_OK;
    const Votes v = {offsets, query_patch, reference_patch, query_xy,     reference_xy, level,
                     weight,  inverse_ratio, by_query,      by_reference, half_bin};
    Word *words = (Word *)table;
    const int64_t slots = kSlotsOfVote * votes;
    const Table t = {words, words + slots, words + 2 * slots, words + 3 * slots, bins};
    LM_LAUNCH(vote_kernel, groups, kThreads, stream, v, t, peaks, score, bin);
    return lm_launched();
}
