/* splat_evidence on a GPU: a block fills a tile of one map from the patches that reach it; a second kernel finds each
 * pixel's winner. The definition is localmatch/kernels/splat.py.
 */
#include "launch.h"

namespace {

/* Pixels a side of a tile and, of its pixels, a thread; patches that are looked at and that are added together. */
constexpr int kTile = 32, kRun = 16, kThreads = kTile * kTile / kRun, kLooked = 256, kTogether = 24;
constexpr int kWinnerThreads = 256;
constexpr int32_t kSubpixel = 16;

struct Patches {
    const int64_t *offsets;
    const int32_t *xy, *radius, *evidence;
    int64_t maps, height, width;
};

/* A patch that reaches the tile: its windows on the tile's columns and, times the evidence, rows. */
struct Near {
    int32_t down[kTile], across[kTile];
};

/* Weight of a pixel along one axis, 0 to 32; positions in 1/16 px. */
__device__ int32_t tent(int64_t pixel, int32_t centre, int32_t reach) {
    const int32_t at = (int32_t)(kSubpixel * pixel + kSubpixel / 2), away = at < centre ? centre - at : at - centre;
    return away < reach ? (reach - away) * ((32 << 16) / reach) >> 16 : 0;
}

__device__ bool reaches(int32_t centre, int32_t reach, int64_t first) {
    return centre + reach > kSubpixel * first && centre - reach < kSubpixel * (first + kTile);
}

/* Windows of some patches on the tile from (x0, y0). */
__device__ void prepare(const Patches &p, const int64_t *patches, int32_t count, int64_t x0, int64_t y0, Near *near) {
    for (int32_t i = (int32_t)threadIdx.x; i < count * kTile; i += (int32_t)blockDim.x) {
        const int64_t patch = patches[i / kTile];
        const int32_t reach = kSubpixel * p.radius[patch], at = i % kTile;
        near[i / kTile].across[at] = tent(x0 + at, p.xy[2 * patch], reach);
        near[i / kTile].down[at] = p.evidence[patch] * tent(y0 + at, p.xy[2 * patch + 1], reach);
    }
}

/* Adds them to the pixels; a thread takes some of one column. */
__device__ void add(const Near *near, int32_t count, int32_t *sums) {
    for (int32_t v = (int32_t)threadIdx.x; v < kThreads; v += (int32_t)blockDim.x) {
        const int32_t x = v % kTile, y = v / kTile;
        int32_t sum[kRun] = {};
        for (int32_t j = 0; j < count; ++j) {
            const int32_t weight = near[j].across[x];
            for (int i = 0; i < kRun; ++i) sum[i] += weight * near[j].down[y + i * (kTile / kRun)];
        }
        for (int i = 0; i < kRun; ++i) sums[(y + i * (kTile / kRun)) * kTile + x] += sum[i];
    }
}

__global__ void splat_kernel(Patches p, uint32_t across, uint32_t tiles, int32_t *heat) {
    __shared__ int32_t sums[kTile * kTile], count;
    __shared__ int64_t found[kLooked];
    __shared__ Near near[kTogether];
    /* Division of 64-bit numbers would cost more than the rest. */
    const uint32_t map = blockIdx.x / tiles, tile = blockIdx.x % tiles;
    const int64_t x0 = (int64_t)(tile % across) * kTile, y0 = (int64_t)(tile / across) * kTile;
    const int64_t last = p.offsets[map + 1];
    for (int32_t i = (int32_t)threadIdx.x; i < kTile * kTile; i += (int32_t)blockDim.x) sums[i] = 0;
    for (int64_t first = p.offsets[map]; first < last; first += kLooked) {
        if (threadIdx.x == 0) count = 0;
        __syncthreads();
        for (int64_t i = first + threadIdx.x; i < first + kLooked && i < last; i += blockDim.x) {
            const int32_t reach = kSubpixel * p.radius[i];
            if (reaches(p.xy[2 * i], reach, x0) && reaches(p.xy[2 * i + 1], reach, y0)) found[atomicAdd(&count, 1)] = i;
        }
        __syncthreads();
        for (int32_t done = 0; done < count; done += kTogether) {
            const int32_t some = count - done < kTogether ? count - done : kTogether;
            prepare(p, found + done, some, x0, y0, near);
            __syncthreads();
            add(near, some, sums);
            __syncthreads();
        }
    }
    __syncthreads();
    const int32_t width = (int32_t)(p.width - x0), height = (int32_t)(p.height - y0), stride = (int32_t)p.width;
    int32_t *corner = heat + (map * p.height + y0) * p.width + x0;
    for (int32_t c = (int32_t)threadIdx.x; c < kTile * kTile; c += (int32_t)blockDim.x) {
        const int32_t x = c % kTile, y = c / kTile;
        if (x < width && y < height) corner[y * stride + x] = sums[c];
    }
}

__global__ void winner_kernel(const int32_t *heat, int64_t maps, int64_t pixels, int32_t *winner) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < pixels; i += gridDim.x * (int64_t)blockDim.x) {
        int32_t best = 0, number = -1;
        for (int64_t map = 0; map < maps; ++map) {
            const int32_t value = heat[map * pixels + i];
            if (value > best) {
                best = value;
                number = (int32_t)map;
            }
        }
        winner[i] = number;
    }
}

}  // namespace

extern "C" LM_API int32_t lm_cuda_splat_evidence(const int64_t *offsets, int64_t maps, const int32_t *xy,
                                                 const int32_t *radius, const int32_t *evidence, int64_t height,
                                                 int64_t width, int32_t *heat, int32_t *winner, int64_t stream) {
    if (maps < 0 || height < 0 || width < 0) return LM_BAD_ARGUMENT;
    if (height == 0 || width == 0) return LM_OK;
    const Patches p = {offsets, xy, radius, evidence, maps, height, width};
    const int64_t across = (width + kTile - 1) / kTile, tiles = across * ((height + kTile - 1) / kTile);
    if (maps * tiles > INT32_MAX || width > INT32_MAX / kTile) return LM_BAD_ARGUMENT;
    if (maps > 0) {
        LM_LAUNCH(splat_kernel, maps * tiles, kThreads, stream, p, (uint32_t)across, (uint32_t)tiles, heat);
    }
    LM_LAUNCH(winner_kernel, (height * width + kWinnerThreads - 1) / kWinnerThreads, kWinnerThreads, stream, heat, maps,
              height * width, winner);
    return lm_launched();
}
