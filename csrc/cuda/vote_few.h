/* vote_topk for groups of few votes: a warp each, which compares all votes with all, as sets of bits. */
#ifndef LOCALMATCH_CUDA_VOTE_FEW_H
#define LOCALMATCH_CUDA_VOTE_FEW_H

#include "vote_bins.h"

namespace {

constexpr int kFew = 16, kWarps = 4;

/* A group's votes, and at their level and the one below the last bins and the scores of all four. */
struct Few {
    int32_t votes;
    Bin last[kFew][2];
    Word score[kFew][2][kOverlap];
    int64_t reference_patch[kFew];
    int32_t query_patch[kFew], weight[kFew];
    uint32_t before_of_query[kFew], before_of_reference[kFew]; /* votes of the same patch that count instead */
    Word peak[2 * kFew], peak_key[2 * kFew]; /* score of the strongest of the four where it is a peak, else 0 */
};

__device__ void load(const Votes &v, int64_t first, const Warp &w, Few *f) {
    for (int32_t i = w.lane; i < f->votes; i += w.lanes) {
        for (int upper = 0; upper < 2; ++upper) f->last[i][upper] = bin_of(v, first + i, upper);
        f->reference_patch[i] = v.reference_patch[first + i];
        f->query_patch[i] = v.query_patch[first + i];
        f->weight[i] = v.weight[first + i];
    }
    lm_sync_warp();
    for (int32_t i = w.lane; i < f->votes; i += w.lanes) {
        uint32_t of_query = 0, of_reference = 0;
        for (int32_t j = 0; j < f->votes; ++j) {
            const bool before = f->weight[j] > f->weight[i] || (f->weight[j] == f->weight[i] && j < i);
            of_query |= (uint32_t)(before && f->query_patch[j] == f->query_patch[i]) << j;
            of_reference |= (uint32_t)(before && f->reference_patch[j] == f->reference_patch[i]) << j;
        }
        f->before_of_query[i] = of_query;
        f->before_of_reference[i] = of_reference;
    }
    lm_sync_warp();
}

/* Score of a bin that some votes fall into: of each patch the heaviest counts. */
__device__ Word score_of(const Few &f, uint32_t inside) {
    Word by_query = 0, by_reference = 0;
    for (uint32_t rest = inside; rest; rest &= rest - 1) {
        const int32_t j = __ffs((int32_t)rest) - 1;
        if (!(f.before_of_query[j] & inside)) by_query += (Word)f.weight[j];
        if (!(f.before_of_reference[j] & inside)) by_reference += (Word)f.weight[j];
    }
    return by_query < by_reference ? by_query : by_reference;
}

__device__ void sum_up(const Warp &w, Few *f) {
    for (int32_t i = w.lane; i < 2 * f->votes; i += w.lanes) {
        const Bin own = f->last[i / 2][i % 2];
        uint32_t inside[kOverlap] = {};
        for (int32_t j = 0; j < f->votes; ++j) {
            const int32_t upper = own.level - f->last[j][1].level + 1;
            if (own.level < 0 || upper < 0 || upper > 1) continue;
            const int32_t y = f->last[j][upper].y - own.y, x = f->last[j][upper].x - own.x;
            for (int which = 0; which < kOverlap; ++which) {
                const int32_t down = y + which / 2, right = x + which % 2;
                inside[which] |= (uint32_t)(down >= 0 && down < 2 && right >= 0 && right < 2) << j;
            }
        }
        for (int which = 0; which < kOverlap; ++which) f->score[i / 2][i % 2][which] = score_of(*f, inside[which]);
    }
    lm_sync_warp();
}

/* Whether a vote's bin is a peak, and no earlier vote says so. */
__device__ bool is_peak(const Few &f, int32_t vote, const Bin &own, Word score) {
    uint32_t near[2] = {};
    for (int32_t j = 0; j < f.votes; ++j) {
        for (int upper = 0; upper < 2; ++upper) {
            const Bin last = f.last[j][upper];
            const uint32_t level = (uint32_t)(last.level - own.level + 1), y = (uint32_t)(last.y - own.y + 1);
            near[upper] |= (uint32_t)(last.level >= 0 && level < 3 && y < 4 && (uint32_t)(last.x - own.x + 1) < 4) << j;
        }
    }
    for (int upper = 0; upper < 2; ++upper) {
        for (uint32_t rest = near[upper]; rest; rest &= rest - 1) {
            const int32_t j = __ffs((int32_t)rest) - 1;
            for (int which = 0; which < kOverlap; ++which) {
                const Bin one = one_of(f.last[j][upper], which);
                const int32_t y = one.y - own.y, x = one.x - own.x, order = 9 * (one.level - own.level) + 3 * y + x;
                if (y < -1 || y > 1 || x < -1 || x > 1) continue;
                const Word other = f.score[j][upper][which];
                if (order == 0 ? j < vote : other > score || (other == score && order < 0)) return false;
            }
        }
    }
    return true;
}

/* The four bins of a vote at one level touch each other, so that only the strongest of them can be a peak. */
__device__ void find_peaks(const Warp &w, Few *f) {
    for (int32_t i = w.lane; i < 2 * f->votes; i += w.lanes) {
        const Word *score = f->score[i / 2][i % 2];
        int32_t best = kOverlap - 1; /* of equal ones the last, whose key is the lowest */
        for (int which = kOverlap - 2; which >= 0; --which) best = score[which] > score[best] ? which : best;
        const Bin own = one_of(f->last[i / 2][i % 2], best);
        f->peak[i] = score[best] > 0 && is_peak(*f, i / 2, own, score[best]) ? score[best] : 0;
        f->peak_key[i] = key_of(own);
    }
    lm_sync_warp();
}

__device__ void report(const Few &f, const Warp &w, int64_t group, const Peaks &out) {
    for (int32_t i = w.lane; i < 2 * f.votes; i += w.lanes) {
        int32_t stronger = 0;
        for (int32_t j = 0; j < 2 * f.votes; ++j) {
            stronger += f.peak[j] > f.peak[i] || (f.peak[j] == f.peak[i] && f.peak_key[j] < f.peak_key[i]);
        }
        if (f.peak[i]) put(out, group, stronger, f.peak[i], bin_of(f.peak_key[i]));
    }
    lm_sync_warp();
}

__global__ void few_kernel(Votes v, int64_t groups, Peaks out) {
    __shared__ Few few[kWarps];
    const Warp w = this_warp();
    Few *f = few + w.number;
    for (int64_t group = blockIdx.x + gridDim.x * (int64_t)w.number; group < groups; group += gridDim.x * (int64_t)w.all) {
        const int64_t first = v.offsets[group], votes = v.offsets[group + 1] - first;
        if (votes > kFew) continue;
        if (w.lane == 0) f->votes = (int32_t)votes;
        put_none(out, group, w.lane, w.lanes);
        lm_sync_warp();
        load(v, first, w, f);
        sum_up(w, f);
        find_peaks(w, f);
        report(*f, w, group, out);
    }
    lm_wait_for_earlier_launch();
}

}  // namespace

#endif
