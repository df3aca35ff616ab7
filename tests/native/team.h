// How many threads a team does without, for what it lost.
#pragma once

#include "plain.h"

// Steps of `spent` nanoseconds of which `lost` go by without a thread, until so much time is over; the most threads that
// the judge did without, and when first.
struct Verdict {
    int64_t most = 0, first = -1;
};

static Verdict judged(Judge *judge, int64_t *now, int64_t time, int64_t spent, int64_t lost) {
    Verdict found;
    for (const int64_t end = *now + time; *now < end;) {
        const int64_t fewer = judge->fewer(*now);
        if (fewer && found.first < 0) found.first = *now;
        found.most = std::max(found.most, fewer);
        *now += spent;
        if (!fewer) judge->note(*now, spent, lost);
    }
    return found;
}

static std::vector<Heard> check_team(Random &) {
    const int64_t ms = 1000000;
    std::vector<Heard> heard;
    Judge served;
    int64_t now = 5000 * ms;
    int64_t fewer = 0;
    for (int step = 0; step < 100; step++) {  // 45 ms of a batch's step, 1.5 ms of a server's work behind them
        fewer += judged(&served, &now, 43 * ms, ms, 0).most;
        fewer += judged(&served, &now, 2 * ms, 2 * ms, 3 * ms / 2).most;
    }
    heard.push_back({fewer == 0, "what a server does between two steps takes no thread from a team"});

    Judge beside;
    const int64_t begin = now;
    const Verdict found = judged(&beside, &now, 60 * ms, 4 * ms, 7 * ms / 2);
    heard.push_back({found.most == 1 && found.first - begin <= 8 * ms, "a program on the same processor does, and soon"});

    int64_t with_all = 0, until = now + 20000 * ms;
    while (now < until) {
        const bool all = beside.fewer(now) == 0;
        with_all += all;
        now += 4 * ms;
        if (all) beside.note(now, 4 * ms, 7 * ms / 2);
    }
    heard.push_back({with_all >= 20 && with_all <= 70, "all threads are tried again and again, ever more seldom"});

    judged(&beside, &now, 5000 * ms, ms, 0);
    heard.push_back({beside.fewer(now) == 0, "once it is gone, all threads work"});
    judged(&beside, &now, 8 * ms, 4 * ms, 7 * ms / 2);
    const int64_t left = now;
    while (beside.fewer(now)) now += ms;
    heard.push_back({now > left && now - left <= 24 * ms, "and the next such program is tried again soon"});
    return heard;
}
