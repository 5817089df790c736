/* The C ABI of localmatch's CPU kernels: the contract between Python and C++.
 *
 * Pointers are to contiguous arrays that the caller owns, already checked for shape and type. Functions return
 * LM_OK or an error code; they never throw, print or keep state. No torch and no Python header is needed, so that
 * one library serves every version of both. Integer arithmetic only: results are the same bits on every machine
 * and at every thread count.
 */
#ifndef LOCALMATCH_H
#define LOCALMATCH_H

#include <stdint.h>

#if defined(_WIN32)
#define LM_API __declspec(dllexport)
#else
#define LM_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum lm_status { LM_OK = 0, LM_BAD_ARGUMENT = 1, LM_OUT_OF_MEMORY = 2 };

/* Instruction sets, in rising order of speed on the CPUs that have them. */
enum lm_isa { LM_ISA_GENERIC = 0, LM_ISA_NEON = 1, LM_ISA_AVX2 = 2, LM_ISA_AVX512 = 3 };

/* 1 if this CPU has the instruction set, else 0. */
LM_API int32_t lm_supports(int64_t isa);

/* Changes whenever a signature does; Python refuses a library of another number. */
enum { lm_abi_number = 5 };
LM_API int32_t lm_abi_version(void);

/* null: copies `count` values. The template of a kernel: see CONTRIBUTING.md. */
LM_API int32_t lm_null(const int32_t *input, int64_t count, int32_t *output);

/* vote_topk: evidence of votes into overlapping bins of (log-scale, shift y, shift x), one histogram a group, and the
 * strongest local maxima of each. Defined in plain torch by localmatch/kernels/vote.py.
 *
 *   offsets          [groups + 1]  votes of group g are offsets[g] .. offsets[g + 1]
 *   query_patch      [votes]
 *   reference_patch  [votes]
 *   query_xy         [votes, 2]    1/16 px
 *   reference_xy     [votes, 2]    1/16 px
 *   level            [votes]       half-octave steps of the scale ratio, 0 .. levels - 1
 *   weight           [votes]       >= 0
 *   inverse_ratio    [levels]      Q16: 65536 / ratio of each log-scale bin
 *   half_bin         half the side of a shift bin, 1/16 px
 *   score            [groups, peaks]     filled with 0 where a group has fewer peaks
 *   bin              [groups, peaks, 3]  likewise
 */
LM_API int32_t lm_vote_topk(const int64_t *offsets, int64_t groups, const int32_t *query_patch,
                             const int64_t *reference_patch, const int32_t *query_xy, const int32_t *reference_xy,
                             const int32_t *level, const int32_t *weight, const int32_t *inverse_ratio,
                             int64_t levels, int64_t half_bin, int64_t peaks, int64_t threads, int64_t *score,
                             int32_t *bin);

/* match_topk: the best row of each segment of a table for each query, without the matrix of their products. Defined in
 * plain torch by localmatch/kernels/match.py.
 *
 *   query      [queries, dimension]  dimension a multiple of 4
 *   reference  [rows, dimension]     rows = offsets[segments]
 *   offsets    [segments + 1]        segment s is rows offsets[s] .. offsets[s + 1]
 *   isa        one of lm_isa that this CPU supports
 *   best       [segments, queries]   highest product; INT32_MIN where the segment is empty
 *   index      [segments, queries]   its row, the lowest of equal ones; -1 where the segment is empty
 *   second     [segments, queries]   second highest, or NULL; INT32_MIN where the segment has fewer than two rows
 *   mutual     [rows]                query of the highest product of each row, the lowest of equal ones, or NULL; -1
 *                                    without queries
 */
LM_API int32_t lm_match_topk(const int8_t *query, int64_t queries, const int8_t *reference, int64_t dimension,
                             const int64_t *offsets, int64_t segments, int64_t isa, int64_t threads, int32_t *best,
                             int32_t *index, int32_t *second, int32_t *mutual);

/* The same of float descriptors: best and second are float, -inf where there is nothing. Sums round as they are added. */
LM_API int32_t lm_match_topk_float(const float *query, int64_t queries, const float *reference, int64_t dimension,
                                   const int64_t *offsets, int64_t segments, int64_t isa, int64_t threads, float *best,
                                   int32_t *index, float *second, int32_t *mutual);

/* rerank_topk: exact best rows of each query's candidates. Defined in plain torch by localmatch/kernels/rerank.py.
 *
 *   query       [queries, dimension]
 *   candidates  [queries, width]      rows of the table or, with offsets, runs of rows; -1 for none
 *   offsets     [runs + 1]            run n is rows offsets[n] .. offsets[n + 1]; or NULL
 *   table       [rows, dimension]
 *   score       [queries, k]          highest first, of equal ones the lowest row first; INT32_MIN where there are fewer
 *   index       [queries, k]          its row; -1 where there are fewer
 */
LM_API int32_t lm_rerank_topk(const int8_t *query, int64_t queries, int64_t dimension, const int32_t *candidates,
                              int64_t width, const int64_t *offsets, int64_t runs, const int8_t *table, int64_t k,
                              int64_t isa, int64_t threads, int32_t *score, int32_t *index);

/* compare_maps: best product of each query cell with the reference cells around the place that an alignment maps it to.
 * Defined in plain torch by localmatch/kernels/compare.py.
 *
 *   query      [height, width, dimension]
 *   reference  [reference_height, reference_width, dimension]
 *   affine     [alignments, 2, 3]   Q16 map of query cell (x, y, 1) to reference cell (x, y)
 *   score      [alignments, height, width]   INT32_MIN where the window lies outside
 *   offset     [alignments, height, width]   row-major place in the window, the first of equal ones; -1 outside
 */
LM_API int32_t lm_compare_maps(const int8_t *query, int64_t height, int64_t width, int64_t dimension,
                               const int8_t *reference, int64_t reference_height, int64_t reference_width,
                               const int32_t *affine, int64_t alignments, int64_t radius, int64_t isa, int64_t threads,
                               int32_t *score, int32_t *offset);

/* convolve: a 3 x 3 convolution of bytes by bytes, edges padded with 0, scaled and clipped to bytes again. Defined in plain
 * torch by localmatch/kernels/convolve.py.
 *
 *   input    [inputs / 4, height, width, 4]  channels in fours; a multiple of 4 of them
 *   weights  [outputs, inputs, 3, 3]         outputs a multiple of 8
 *   bias     [outputs]                       added to the sums
 *   scale    [outputs]                       what sums are multiplied by; then rounded half to even
 *   stride   1 or 2
 *   output   [outputs / 4, ceil(height / stride), ceil(width / stride), 4]
 */
LM_API int32_t lm_convolve(const uint8_t *input, int64_t inputs, int64_t height, int64_t width, const int8_t *weights,
                           int64_t outputs, const int32_t *bias, const float *scale, int64_t stride, int64_t isa,
                           int64_t threads, uint8_t *output);

/* local_zncc: zero-mean normalised cross-correlation of two aligned images in a window around each pixel. Defined in plain
 * torch by localmatch/kernels/zncc.py.
 *
 *   first, second  [height, width]
 *   inside         [height, width]   0 where a pixel does not take part
 *   radius         of the window, 0 .. 64
 *   zncc           [height, width]   in 1/16384; 0 where either image is flat
 */
LM_API int32_t lm_local_zncc(const uint8_t *first, const uint8_t *second, const uint8_t *inside, int64_t height,
                             int64_t width, int64_t radius, int64_t threads, int32_t *zncc);

/* splat_evidence: evidence of patches spread over pixels, a map for each group, and the winner of each pixel. Defined in
 * plain torch by localmatch/kernels/splat.py.
 *
 *   offsets   [maps + 1]            patches of map m are offsets[m] .. offsets[m + 1]
 *   xy        [patches, 2]          1/16 px, not negative
 *   radius    [patches]             px, 1 .. 2^14
 *   evidence  [patches]             0 .. 255
 *   heat      [maps, height, width]
 *   winner    [height, width]       map of the highest heat, the lowest of equal ones; -1 where all are 0
 */
LM_API int32_t lm_splat_evidence(const int64_t *offsets, int64_t maps, const int32_t *xy, const int32_t *radius,
                                 const int32_t *evidence, int64_t height, int64_t width, int64_t threads, int32_t *heat,
                                 int32_t *winner);

/* The CUDA library (csrc/cuda), built where nvcc is found: pointers are to the memory of the current device, the work is
 * queued on `stream`, and error codes of CUDA itself have 1000 added.
 */
LM_API int32_t lm_cuda_abi_version(void);
LM_API const char *lm_cuda_error(int32_t code);
LM_API int32_t lm_cuda_null(const int32_t *input, int64_t count, int32_t *output, int64_t stream);

/* The ops of the same names above. Of vote_topk, `longest` is how many votes the largest group has, and scratch has 60
 * numbers a vote.
 */
LM_API int32_t lm_cuda_vote_topk(const int64_t *offsets, int64_t groups, const int32_t *query_patch,
                                 const int64_t *reference_patch, const int32_t *query_xy, const int32_t *reference_xy,
                                 const int32_t *level, const int32_t *weight, const int32_t *inverse_ratio,
                                 int64_t half_bin, int64_t peaks, int64_t longest, int64_t *scratch, int64_t *score,
                                 int32_t *bin, int64_t stream);
LM_API int32_t lm_cuda_compare_maps(const int8_t *query, int64_t height, int64_t width, int64_t dimension,
                                    const int8_t *reference, int64_t reference_height, int64_t reference_width,
                                    const int32_t *affine, int64_t alignments, int64_t radius, int32_t *score,
                                    int32_t *offset, int64_t stream);
LM_API int32_t lm_cuda_local_zncc(const uint8_t *first, const uint8_t *second, const uint8_t *inside, int64_t height,
                                  int64_t width, int64_t radius, int32_t *zncc, int64_t stream);
LM_API int32_t lm_cuda_splat_evidence(const int64_t *offsets, int64_t maps, const int32_t *xy, const int32_t *radius,
                                      const int32_t *evidence, int64_t height, int64_t width, int32_t *heat,
                                      int32_t *winner, int64_t stream);

#ifdef __cplusplus
}
#endif
#endif
