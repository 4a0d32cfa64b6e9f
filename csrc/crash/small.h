/* small.h: sizes for test programs, included before all else: segments so small that a program of
 * thirty steps makes a dozen of them, and every kind. The engine's files are otherwise as they are.
 * See format.h for what each is. */
#ifndef AUL_SMALL_H
#define AUL_SMALL_H

#define AUL_SEGMENT_BYTES (32u << 10)
#define AUL_SEGMENT_BYTES_FIRST (24u << 10)
#define AUL_SEGMENT_BYTES_LEAST (20u << 10)
#define AUL_SEGMENT_BYTES_BULK (32u << 10)
#define AUL_BULK_BYTES (8u << 10)
#define AUL_PREPARE_AFTER_BYTES (8u << 10)
#define AUL_FRAME_PAYLOAD_MAX (4u << 10)
#define AUL_SCAN_BYTES (16u << 10)
#ifndef AUL_IN_FLIGHT_LSNS
#define AUL_IN_FLIGHT_LSNS (1ull << 20)
#endif
#define AUL_IN_FLIGHT_BYTES (48u << 10)

#endif
