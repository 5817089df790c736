/* A queue of independent pieces of work for a few threads; no OpenMP, so no second runtime beside torch's. */
#ifndef LOCALMATCH_PARALLEL_H
#define LOCALMATCH_PARALLEL_H

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "localmatch.h"

namespace localmatch {

/* Runs work(i) for i in [0, count) on up to `threads` threads. The work must not depend on order. */
template <class Work>
int32_t parallel_for(int64_t count, int64_t threads, Work work) {
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
    auto drain = [&]() noexcept {
        try {
            for (int64_t i; !failed && (i = next.fetch_add(1)) < count;) work(i);
        } catch (const std::bad_alloc &) {
            failed = true;
        }
    };
    std::vector<std::thread> others;
    try {
        for (int64_t t = 1; t < std::min<int64_t>(threads, count); ++t) others.emplace_back(drain);
    } catch (const std::system_error &) {
        /* Fewer threads than asked for do the same work. */
    } catch (const std::bad_alloc &) {
    }
    drain();
    for (auto &thread : others) thread.join();
    return failed ? LM_OUT_OF_MEMORY : LM_OK;
}

}  // namespace localmatch
#endif
