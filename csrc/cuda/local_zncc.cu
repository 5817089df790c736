/* local_zncc on a GPU: sums of columns are moved down and kept, then moved to the right. The definition is
 * localmatch/kernels/zncc.py.
 */
#include "launch.h"

namespace {

/* A block's tile, and how many neighbouring pixels of it a thread takes at once. */
constexpr int kThreads = 128, kColumns = 64, kRows = 8, kRun = 4, kSums = 6, kMostRadius = 64;

struct Images {
    const uint8_t *first, *second, *inside;
    int64_t height, width;
    int32_t radius;
};

/* Of n, a, b, aa, bb, ab over pixels; those of the largest window fit 32 bits. */
struct Sums {
    int32_t of[kSums];
};

__device__ void add(Sums *s, const Sums &o, int32_t sign) {
    for (int i = 0; i < kSums; ++i) s->of[i] += sign * o.of[i];
}

/* The column sums of a tile. Every kRun-th column lies side by side, so that threads that take runs of columns read from
 * different banks of the shared memory.
 */
struct Columns {
    int32_t *sums;
    int32_t runs; /* in a row */

    __device__ int32_t *at(int row, int32_t column) const {
        return sums + (row * kRun + column % kRun) * runs + column / kRun;
    }
    __device__ void put(int row, int32_t column, const Sums &s) const {
        for (int i = 0; i < kSums; ++i) at(row, column)[i * kRows * kRun * runs] = s.of[i];
    }
    __device__ Sums get(int row, int32_t column) const {
        Sums s;
        for (int i = 0; i < kSums; ++i) s.of[i] = at(row, column)[i * kRows * kRun * runs];
        return s;
    }
};

__device__ Sums pixel(const Images &m, int64_t y, int64_t x) {
    const bool on_image = y >= 0 && y < m.height;
    const int64_t at = on_image ? y * m.width + x : x;
    /* All three are loaded at once, and what is outside is made 0. */
    const int32_t n = on_image && m.inside[at], a = n * m.first[at], b = n * m.second[at];
    return {{n, a, b, a * a, b * b, a * b}};
}

__device__ int32_t correlation(const Sums &s) {
    const int64_t n = s.of[0], a = s.of[1], b = s.of[2];
    const double root = sqrt((double)(n * s.of[3] - a * a) * (double)(n * s.of[4] - b * b));
    return root == 0 ? 0 : (int32_t)rint((double)(n * s.of[5] - a * b) / root * 16384);
}

/* Sums of the window's height in a column, for each row of the tile. */
__device__ void sum_column(const Images &m, int64_t y0, int64_t x, const Columns &out, int32_t column) {
    Sums s = {};
    const bool there = x >= 0 && x < m.width;
    for (int64_t y = y0 - m.radius; there && y < y0 + m.radius; ++y) add(&s, pixel(m, y, x), 1);
    for (int row = 0; row < kRows; ++row) {
        if (there) add(&s, pixel(m, y0 + row + m.radius, x), 1);
        out.put(row, column, s);
        if (there) add(&s, pixel(m, y0 + row - m.radius, x), -1);
    }
}

__global__ void zncc_kernel(Images m, int64_t tiles_across, int32_t *zncc) {
    LM_SHARED_ARRAY(int32_t, sums);
    const int64_t x0 = blockIdx.x % tiles_across * kColumns, y0 = blockIdx.x / tiles_across * kRows;
    const int32_t columns = kColumns + 2 * m.radius;
    const Columns kept = {sums, (columns + kRun - 1) / kRun};
    for (int32_t c = (int32_t)threadIdx.x; c < columns; c += (int32_t)blockDim.x) {
        sum_column(m, y0, x0 - m.radius + c, kept, c);
    }
    __syncthreads();
    for (int32_t run = (int32_t)threadIdx.x; run < kRows * kColumns / kRun; run += (int32_t)blockDim.x) {
        const int32_t row = run / (kColumns / kRun), first = run % (kColumns / kRun) * kRun;
        const int64_t y = y0 + row;
        Sums s = {};
        for (int32_t o = 0; o < 2 * m.radius; ++o) add(&s, kept.get(row, first + o), 1);
        for (int32_t i = 0; i < kRun; ++i) {
            add(&s, kept.get(row, first + i + 2 * m.radius), 1);
            const int64_t x = x0 + first + i;
            if (y < m.height && x < m.width) zncc[y * m.width + x] = correlation(s);
            add(&s, kept.get(row, first + i), -1);
        }
    }
}

}  // namespace

extern "C" LM_API int32_t lm_cuda_local_zncc(const uint8_t *first, const uint8_t *second, const uint8_t *inside,
                                             int64_t height, int64_t width, int64_t radius, int32_t *zncc,
                                             int64_t stream) {
    if (height < 0 || width < 0 || radius < 0 || radius > kMostRadius) return LM_BAD_ARGUMENT;
    if (height == 0 || width == 0) return LM_OK;
    const Images m = {first, second, inside, height, width, (int32_t)radius};
    const int64_t across = (width + kColumns - 1) / kColumns, down = (height + kRows - 1) / kRows;
    const int64_t columns = (kColumns + 2 * radius + kRun - 1) / kRun * kRun;
    const int64_t shared = kRows * columns * (int64_t)sizeof(Sums); /* 37 KB at most */
    LM_LAUNCH_SHARED(zncc_kernel, across * down, kThreads, shared, stream, m, across, zncc);
    return lm_launched();
}
