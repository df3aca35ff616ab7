"""Kernels in C++ for CPUs: built with the package where there is a compiler, chosen by the processor at run time."""
