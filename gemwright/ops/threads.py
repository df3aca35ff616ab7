"""The threads that torch and the kernels compute with: OpenMP's. Every thread that computes has a team of its own."""

from __future__ import annotations

import ctypes

import torch

_SOFT = 1  # omp_pause_soft, of OpenMP 5.0: what the program has set stays set


def release() -> None:
    """Ends the calling thread's team, which comes again when it is needed.

    For a thread that has loaded a model and leaves the computing to another. GNU's OpenMP counts the threads of all
    teams: where they are more than the processors, a thread that waits for others within a computation sleeps at once
    instead of looking for them a while, and every kernel waits for it to wake. Where OpenMP cannot do this, nothing
    happens.
    """
    pause = getattr(ctypes.CDLL(torch._C.__file__), "omp_pause_resource_all", None)
    if pause is not None:
        pause(_SOFT)
