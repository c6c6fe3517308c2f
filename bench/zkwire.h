/* The few records of the client protocol that the load generator and the canned responder need, and small tools that both use.
 *
 * All integers are big-endian. A frame is a 4-byte length and that many bytes.
 *   request   = int xid, int type, record            reply = int xid, long zxid, int error, record (only when error is 0)
 *   string and buffer = int length, bytes            boolean = 1 byte
 */
#ifndef ZKWIRE_H
#define ZKWIRE_H

#include <endian.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OP_CREATE = 1, OP_DELETE = 2, OP_GET = 4, OP_SET = 5, OP_SYNC = 9, OP_MULTI = 14, OP_CLOSE = -11 };
enum { XID_EVENT = -1, ERR_NODE_EXISTS = -110 };
enum { STAT_SIZE = 68, REPLY_HEADER_SIZE = 16, PASSWORD_SIZE = 16 };

static inline void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint8_t *put_int(uint8_t *out, int32_t value)
{
    uint32_t big = htobe32((uint32_t)value);
    memcpy(out, &big, 4);
    return out + 4;
}

static inline uint8_t *put_long(uint8_t *out, int64_t value)
{
    uint64_t big = htobe64((uint64_t)value);
    memcpy(out, &big, 8);
    return out + 8;
}

static inline uint8_t *put_bool(uint8_t *out, int value)
{
    *out = (uint8_t)value;
    return out + 1;
}

static inline uint8_t *put_bytes(uint8_t *out, const void *bytes, size_t length)
{
    out = put_int(out, (int32_t)length);
    memcpy(out, bytes, length);
    return out + length;
}

static inline uint8_t *put_text(uint8_t *out, const char *text)
{
    return put_bytes(out, text, strlen(text));
}

static inline int32_t get_int(const uint8_t *in)
{
    uint32_t big;
    memcpy(&big, in, 4);
    return (int32_t)be32toh(big);
}

/* The positive numbers of a list such as "2181,2182"; returns how many there are. */
static inline int parse_numbers(const char *text, long *numbers, int room)
{
    int count = 0;
    for (char *end; count < room; text = end + 1) {
        numbers[count] = strtol(text, &end, 10);
        if (end == text || numbers[count++] < 1 || (*end && *end != ','))
            break;
        if (!*end)
            return count;
    }
    die("%s: numbers with commas between them, %d at most", text, room);
    return 0;
}

/* Fills in the length prefix of the frame that starts at `frame` and ends before `end`; returns the whole size. */
static inline size_t close_frame(uint8_t *frame, const uint8_t *end)
{
    put_int(frame, (int32_t)(end - frame - 4));
    return (size_t)(end - frame);
}

/* A decimal number of a fixed number of digits, without the cost of printf. */
static inline void put_digits(uint8_t *out, int digits, uint64_t value)
{
    for (int i = digits - 1; i >= 0; i--, value /= 10)
        out[i] = (uint8_t)('0' + value % 10);
}

#endif
