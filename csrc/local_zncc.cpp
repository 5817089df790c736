/* local_zncc: sums over windows by columns that move down and windows that move right, so that the cost does not depend
 * on the window. The definition is localmatch/kernels/zncc.py.
 */
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "clones.h"
#include "localmatch.h"
#include "parallel.h"

namespace {

constexpr int64_t kBand = 32; /* rows a unit: the first row of each sums its whole window */
constexpr int kSums = 6;      /* count, x, y, xx, yy, xy */

struct Images {
    const uint8_t *first, *second, *inside;
    int64_t height, width;
};

/* Adds (sign 1) or takes away (-1) a row of pixels from the sums of the columns. */
LM_CLONES void move_row(const Images &im, int64_t y, int32_t sign, int32_t *column, int64_t stride) {
    const uint8_t *a = im.first + y * im.width, *b = im.second + y * im.width, *in = im.inside + y * im.width;
    for (int64_t x = 0; x < im.width; ++x) {
        const int32_t s = in[x] ? sign : 0, p = a[x], q = b[x];
        column[x] += s;
        column[stride + x] += s * p;
        column[2 * stride + x] += s * q;
        column[3 * stride + x] += s * (p * p);
        column[4 * stride + x] += s * (q * q);
        column[5 * stride + x] += s * (p * q);
    }
}

/* Sums of columns -> sums of windows. All six move right at once, so that no sum waits for another. */
void sum_windows(const int32_t *column, int64_t stride, int64_t width, int64_t radius, int32_t *window) {
    int32_t sum[kSums] = {};
    for (int64_t x = -radius; x < width; ++x) {
        const int64_t enters = x + radius, leaves = x - radius - 1;
        for (int k = 0; k < kSums; ++k) {
            if (enters < width) sum[k] += column[k * stride + enters];
            if (leaves >= 0) sum[k] -= column[k * stride + leaves];
            if (x >= 0) window[k * stride + x] = sum[k];
        }
    }
}

LM_CLONES void correlate(const int32_t *window, int64_t stride, int64_t width, int32_t *out) {
    for (int64_t x = 0; x < width; ++x) {
        const int64_t n = window[x], a = window[stride + x], b = window[2 * stride + x];
        const int64_t va = n * window[3 * stride + x] - a * a, vb = n * window[4 * stride + x] - b * b;
        const int64_t both = n * window[5 * stride + x] - a * b;
        const double root = std::sqrt(static_cast<double>(va) * static_cast<double>(vb));
        const double value = std::rint(static_cast<double>(both) / (root > 0 ? root : 1.0) * 16384.0);
        out[x] = root > 0 ? static_cast<int32_t>(value) : 0;
    }
}

}  // namespace

extern "C" int32_t lm_local_zncc(const uint8_t *first, const uint8_t *second, const uint8_t *inside, int64_t height,
                                 int64_t width, int64_t radius, int64_t threads, int32_t *zncc) {
    if (height < 0 || width < 0 || radius < 0 || radius > 64) return LM_BAD_ARGUMENT;
    if (width == 0) return LM_OK;
    const Images images{first, second, inside, height, width};
    return localmatch::parallel_for((height + kBand - 1) / kBand, threads, [&](int64_t band) {
        std::vector<int32_t> column(static_cast<size_t>(kSums * width)), window(column.size());
        const int64_t top = band * kBand;
        for (int64_t y = std::max<int64_t>(top - radius, 0); y < std::min(top + radius, height); ++y) {
            move_row(images, y, 1, column.data(), width);
        }
        for (int64_t y = top; y < std::min(top + kBand, height); ++y) {
            if (y + radius < height) move_row(images, y + radius, 1, column.data(), width);
            sum_windows(column.data(), width, width, radius, window.data());
            correlate(window.data(), width, width, zncc + y * width);
            if (y - radius >= 0) move_row(images, y - radius, -1, column.data(), width);
        }
    });
}
