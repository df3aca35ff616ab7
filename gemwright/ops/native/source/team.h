// How many threads work on a step of a few rows.
//
// Such a step has hundreds of short phases with a barrier between them. While another program holds one of the
// processors, every barrier waits for a thread that does not run, for milliseconds: two threads are then twenty times
// slower than one. So each thread looks at its clock: where it was awake for much less than it was there, the next
// steps do with a thread less, and try again later. Results do not depend on the number of threads.
#pragma once

#include <time.h>

#include <atomic>
#include <cstdint>

namespace {

constexpr int64_t STALL = 300000, SHORTEST = 20000000, LONGEST = 1000000000;  // nanoseconds
constexpr int64_t FEW = 16;                                                   // rows; more of them share work unevenly

inline int64_t clock_of(clockid_t which) {
    timespec now;
    clock_gettime(which, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

struct State {
    std::atomic<int64_t> until{0}, pause{SHORTEST}, fewer{0};
};

inline State &state() {
    static State one;
    return one;
}

class Team {
  public:
    Team(int64_t threads, int64_t rows) : size((int)threads), watched_(rows <= FEW && threads > 1), stalled_(false) {
        if (!watched_) return;
        State &s = state();
        if (s.fewer > 0 && clock_of(CLOCK_MONOTONIC) > s.until) s.fewer = 0;  // try with all of them
        const int64_t left = threads - s.fewer;
        size = left < 1 ? 1 : (int)left;
    }

    ~Team() {
        if (!watched_ || size == 1) return;
        State &s = state();
        if (stalled_) {
            s.fewer = s.fewer + 1;
            s.until = clock_of(CLOCK_MONOTONIC) + s.pause;
            s.pause = s.pause * 2 < LONGEST ? s.pause * 2 : LONGEST;
        } else if (s.pause > SHORTEST && s.fewer == 0 && clock_of(CLOCK_MONOTONIC) > s.until + s.pause) {
            s.pause = SHORTEST;  // all is well again, and has been for a while
        }
    }

    // Each thread of the parallel region holds one while it works.
    class Watch {
      public:
        explicit Watch(Team &team) : team_(team) {
            if (team.watched_) begin_ = clock_of(CLOCK_MONOTONIC), awake_ = clock_of(CLOCK_THREAD_CPUTIME_ID);
        }
        ~Watch() {
            if (!team_.watched_) return;
            const int64_t there = clock_of(CLOCK_MONOTONIC) - begin_, awake = clock_of(CLOCK_THREAD_CPUTIME_ID) - awake_;
            if (there - awake > STALL) team_.stalled_ = true;
        }

      private:
        Team &team_;
        int64_t begin_ = 0, awake_ = 0;
    };

    int size;

  private:
    bool watched_;
    std::atomic<bool> stalled_;
};

}  // namespace
