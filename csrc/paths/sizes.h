/* sizes.h: those of ../crash/small.h, but for segments that hold more than one commit block. */
#ifndef AUL_PATHS_SIZES_H
#define AUL_PATHS_SIZES_H

#include "../crash/small.h"

#undef AUL_SEGMENT_BYTES
#define AUL_SEGMENT_BYTES (80u << 10)

#endif
