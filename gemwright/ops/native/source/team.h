// How many threads work on a step of a few rows.
//
// Such a step has hundreds of short phases with a barrier between them. While another program holds one of the
// processors, every barrier waits for a thread that does not run, for milliseconds: two threads are then twenty times
// slower than one. So each thread looks at its clock: where much of the latest time went by without it, the next
// steps do with a thread less, and try again later. A server that answers between two tokens takes a processor as well,
// but for a millisecond: that is not worth a thread. Results do not depend on the number of threads.
#pragma once

#include <time.h>

#include <atomic>
#include <cstdint>

namespace {

inline int64_t clock_of(clockid_t which) {
    timespec now;
    clock_gettime(which, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

// What was lost lately, and what follows from it. Threads that race here at worst forget a piece of work.
class Judge {
  public:
    // Nanoseconds: of work that is looked at together, of it that may be lost, and of work with a thread less.
    static constexpr int64_t WINDOW = 24000000, MOST = 6000000, SHORTEST = 20000000, LONGEST = 1000000000;

    // Threads to do without.
    int64_t fewer(int64_t now) {
        if (fewer_ > 0 && now > until_) fewer_ = 0;  // try with all of them
        return fewer_;
    }

    // A piece of work ended: its nanoseconds, and how many of them went by without one of its threads.
    void note(int64_t now, int64_t spent, int64_t lost) {
        spent_ = spent_ + spent, lost_ = lost_ + lost;
        if (lost_ > MOST) {
            fewer_ = fewer_ + 1;
            until_ = now + pause_;
            pause_ = pause_ * 2 < LONGEST ? pause_ * 2 : LONGEST;
            spent_ = lost_ = 0;
        } else if (spent_ > WINDOW) {
            spent_ = lost_ = 0;
            if (fewer_ == 0 && now > until_ + pause_) pause_ = SHORTEST;  // all is well again, and has been for a while
        }
    }

  private:
    std::atomic<int64_t> until_{0}, pause_{SHORTEST}, fewer_{0}, spent_{0}, lost_{0};
};

inline Judge &judge() {
    static Judge one;
    return one;
}

class Team {
  public:
    static constexpr int64_t FEW = 16;       // rows; more of them share work unevenly
    static constexpr int64_t NOISE = 20000;  // nanoseconds; the two clocks are not read at once

    Team(int64_t threads, int64_t rows) : size((int)threads), watched_(rows <= FEW && threads > 1) {
        if (!watched_) return;
        begin_ = clock_of(CLOCK_MONOTONIC);
        const int64_t left = threads - judge().fewer(begin_);
        size = left < 1 ? 1 : (int)left;
    }

    ~Team() {
        if (!watched_ || size == 1) return;
        const int64_t now = clock_of(CLOCK_MONOTONIC);
        judge().note(now, now - begin_, lost_);
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
            const int64_t lost = there - awake;
            int64_t most = team_.lost_;
            while (lost > NOISE && lost > most && !team_.lost_.compare_exchange_weak(most, lost)) {}
        }

      private:
        Team &team_;
        int64_t begin_ = 0, awake_ = 0;
    };

    int size;

  private:
    bool watched_;
    int64_t begin_ = 0;
    std::atomic<int64_t> lost_{0};
};

}  // namespace
