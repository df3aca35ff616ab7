#include "source/kernels.h"
