/* compare_maps on a GPU: a few neighbouring threads share a query cell, four products an instruction. The definition is
 * localmatch/kernels/compare.py.
 */
#include <limits.h>

#include "launch.h"

namespace {

constexpr int kThreads = 256, kPlaces = 3, kMostLanes = 32, kMostCells = 1 << 13;

struct Maps {
    const int8_t *query, *reference;
    const int32_t *affine;
    int32_t height, width, dimension, reference_height, reference_width, radius;
    int32_t cells; /* of all alignments */
};

__device__ int32_t dot(int32_t a, int32_t b, int32_t sum) { return __dp4a(a, b, sum); }

__device__ int32_t dot(const int4 &a, const int4 &b, int32_t sum) {
    return __dp4a(a.x, b.x, __dp4a(a.y, b.y, __dp4a(a.z, b.z, __dp4a(a.w, b.w, sum))));
}

/* One coordinate of a cell under an affine map in Q16, rounded; positions of large maps exceed 2^31. */
__device__ int32_t moved(const int32_t *a, int32_t x, int32_t y) {
    return (int32_t)(((int64_t)a[0] * x + (int64_t)a[1] * y + a[2] + 32768) >> 16);
}

/* Words of the dimension go around the lanes of a cell. Where kLanes is given, each lane has one word; where kRadius is, all
 * places of a row are under way at once, else kPlaces of them.
 */
template <class W, int kLanes, int kRadius>
__global__ void compare_kernel(Maps m, int32_t words, int32_t some_lanes, int32_t *score, int32_t *offset) {
    constexpr int kBatch = kRadius ? 2 * kRadius + 1 : kPlaces;
    const int32_t lanes = kLanes ? kLanes : some_lanes, radius = kRadius ? kRadius : m.radius;
    const int32_t lane = (int32_t)threadIdx.x % lanes, plane = m.height * m.width;
    const int32_t together = (int32_t)blockDim.x / lanes;
    /* All threads of a block go on together: they exchange sums. */
    for (int64_t base = blockIdx.x * (int64_t)together; base < m.cells; base += gridDim.x * (int64_t)together) {
        const int32_t number = (int32_t)base + (int32_t)threadIdx.x / lanes;
        const bool real = number < m.cells;
        const int32_t alignment = real ? number / plane : 0, cell = real ? number % plane : 0;
        const int32_t x = cell % m.width, y = cell / m.width;
        const int32_t *a = m.affine + 6 * (int64_t)alignment;
        const int32_t centre_x = moved(a, x, y), centre_y = moved(a + 3, x, y);
        const W *own = (const W *)(m.query + (int64_t)cell * m.dimension);
        const W mine = own[lane < words ? lane : 0];
        int32_t best = INT_MIN, where = -1, place = 0;
        for (int32_t down = -radius; down <= radius; ++down) {
            const int32_t v = centre_y + down;
            const bool on_row = real && v >= 0 && v < m.reference_height;
            const int8_t *row = m.reference + (int64_t)v * m.reference_width * m.dimension;
            for (int32_t first = -radius; first <= radius; first += kBatch) {
                /* Loads of several places are under way at once. */
                W other[kBatch];
                bool there[kBatch];
                for (int i = 0; i < kBatch; ++i) {
                    const int32_t u = centre_x + first + i;
                    there[i] = on_row && u >= 0 && u < m.reference_width && (kRadius || first + i <= radius);
                    const int8_t *at = there[i] ? row + (int64_t)u * m.dimension : (const int8_t *)own;
                    other[i] = ((const W *)at)[kLanes || lane < words ? lane : 0];
                }
                for (int i = 0; i < kBatch && (kRadius || first + i <= radius); ++i, ++place) {
                    int32_t sum = kLanes || lane < words ? dot(mine, other[i], 0) : 0;
                    if (!kLanes) {
                        const W *more = (const W *)(row + (int64_t)(centre_x + first + i) * m.dimension);
                        for (int32_t w = lane + lanes; there[i] && w < words; w += lanes) sum = dot(own[w], more[w], sum);
                    }
                    for (int32_t half = lanes / 2; half > 0; half /= 2) sum += __shfl_xor_sync(~0u, sum, half);
                    if (there[i] && sum > best) {
                        best = sum;
                        where = place;
                    }
                }
            }
        }
        if (real && lane == 0) {
            score[number] = best;
            offset[number] = where;
        }
    }
}

template <class W, int kLanes, int kRadius>
void launch(const Maps &m, int64_t stream, int32_t *score, int32_t *offset) {
    const int32_t words = m.dimension / (int32_t)sizeof(W);
    int32_t lanes = 1;
    while (lanes < words && lanes < kMostLanes) lanes *= 2;
    const int64_t blocks = ((int64_t)m.cells * lanes + kThreads - 1) / kThreads;
    LM_LAUNCH((compare_kernel<W, kLanes, kRadius>), blocks, kThreads, stream, m, words, lanes, score, offset);
}

/* The dimensions and radii that are most common have kernels of their own. */
template <int kLanes>
void launch(const Maps &m, int64_t stream, int32_t *score, int32_t *offset) {
    if (m.radius == 1) {
        launch<int4, kLanes, 1>(m, stream, score, offset);
    } else if (m.radius == 2) {
        launch<int4, kLanes, 2>(m, stream, score, offset);
    } else {
        launch<int4, kLanes, 0>(m, stream, score, offset);
    }
}

}  // namespace

extern "C" LM_API int32_t lm_cuda_compare_maps(const int8_t *query, int64_t height, int64_t width, int64_t dimension,
                                               const int8_t *reference, int64_t reference_height,
                                               int64_t reference_width, const int32_t *affine, int64_t alignments,
                                               int64_t radius, int32_t *score, int32_t *offset, int64_t stream) {
    const int64_t least = height | width | reference_height | reference_width | alignments | radius;
    if (least < 0 || dimension < 4 || dimension % 4 != 0) return LM_BAD_ARGUMENT;
    if (height > kMostCells || width > kMostCells || reference_height > kMostCells || reference_width > kMostCells ||
        radius > kMostCells || dimension > kMostCells || alignments * height * width > INT32_MAX - kThreads) {
        return LM_BAD_ARGUMENT;
    }
    const Maps m = {query,
                    reference,
                    affine,
                    (int32_t)height,
                    (int32_t)width,
                    (int32_t)dimension,
                    (int32_t)reference_height,
                    (int32_t)reference_width,
                    (int32_t)radius,
                    (int32_t)(alignments * height * width)};
    if (m.cells == 0) return LM_OK;
    if (dimension == 64) {
        launch<4>(m, stream, score, offset);
    } else if (dimension == 128) {
        launch<8>(m, stream, score, offset);
    } else if (dimension % 16 == 0) {
        launch<int4, 0, 0>(m, stream, score, offset);
    } else {
        launch<int32_t, 0, 0>(m, stream, score, offset);
    }
    return lm_launched();
}
