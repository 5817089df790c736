/* convolve: bands of rows. The definition is localmatch/kernels/convolve.py. */
#include <algorithm>

#include "isa.h"
#include "localmatch.h"
#include "parallel.h"

namespace {
/* Rows of a band: each packs the weights, and the rows that it sees beyond its own, anew. */
constexpr int64_t kBand = 32;
}  // namespace

extern "C" int32_t lm_convolve(const uint8_t *input, int64_t inputs, int64_t height, int64_t width, const int8_t *weights,
                               int64_t outputs, const int32_t *bias, const float *scale, int64_t stride, int64_t isa,
                               int64_t threads, uint8_t *output) {
    const localmatch::Kernels *kernels = localmatch::kernels_for(isa);
    if (inputs < 4 || inputs % 4 || outputs < 8 || outputs % 8 || height < 0 || width < 0 || stride < 1 || stride > 2 ||
        !kernels) {
        return LM_BAD_ARGUMENT;
    }
    const int64_t out_height = (height + stride - 1) / stride, out_width = (width + stride - 1) / stride;
    const localmatch::ConvArguments arguments{input, inputs, height, width,     weights, outputs,
                                              bias,  scale,  stride, out_height, out_width, output};
    return localmatch::parallel_for((out_height + kBand - 1) / kBand, threads, [&](int64_t i) {
        kernels->convolve(arguments, i * kBand, std::min(kBand, out_height - i * kBand));
    });
}
