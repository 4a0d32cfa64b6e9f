/* smaller.h: sizes for this program, included before all else, as ../crash/small.h is for that one:
 * smaller still, for every bit of several segments is flipped. See format.h for what each is. */
#ifndef AUL_SMALLER_H
#define AUL_SMALLER_H

#define AUL_SEGMENT_BYTES (24u << 10)
#define AUL_SEGMENT_BYTES_FIRST (20u << 10)
#define AUL_SEGMENT_BYTES_LEAST (18u << 10)
#define AUL_SEGMENT_BYTES_BULK (24u << 10)
#define AUL_BULK_BYTES (6u << 10)
#define AUL_PREPARE_AFTER_BYTES (4u << 10)
#define AUL_FRAME_PAYLOAD_MAX (1u << 10)
#define AUL_SCAN_BYTES (16u << 10)
#define AUL_IN_FLIGHT_LSNS (1ull << 20)
#define AUL_IN_FLIGHT_BYTES (24u << 10)

#endif
