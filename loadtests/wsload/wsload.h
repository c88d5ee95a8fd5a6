/* What the parts of wsload share. See wsload.c for what it does and how it is called. */
#ifndef WSLOAD_H
#define WSLOAD_H

#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>

#define MARK "ts\":\""
#define MARK_LEN 5
#define DIGITS 19

enum { MAX_CONNS = 60000, MAX_SECS = 600, MAX_PAYLOAD = 60000, MAX_PUBLISHES = 5000000 };
enum { MAX_PUBLISHERS = 256 };
#define PUBLISHER (UINT32_MAX - MAX_PUBLISHERS) /* epoll's name for the publisher's first connection */

typedef enum { CONNECTING, HANDSHAKING, REGISTERING, OPEN, CLOSED } state_t;

typedef struct {
    int fd;
    state_t state;
    uint32_t carry_len, carry_cap;
    uint8_t *carry;  /* bytes of an incomplete frame or handshake */
    uint64_t next;   /* index of the publish that is expected next */
    uint64_t offset; /* of the last numbered message, 0 before the first */
} conn_t;

typedef struct {
    uint64_t ts;            /* CLOCK_MONOTONIC, ns */
    uint32_t got, want;     /* receipts */
    char digits[DIGITS + 1]; /* ts as it stands in the payload */
} pub_t;

/* Log-linear histogram of nanoseconds with a relative resolution of 1/64. */
typedef struct {
    uint64_t n, max, bucket[64 * 64];
} hist_t;

static inline void hist_add(hist_t *h, uint64_t ns)
{
    int i = (int)ns;
    if (ns >= 64) {
        int e = 63 - __builtin_clzll(ns);
        i = (e - 5) * 64 + (int)((ns >> (e - 6)) & 63);
    }
    h->bucket[i]++;
    h->n++;
    if (ns > h->max) h->max = ns;
}

typedef struct {
    const char *url, *first, *answer, *pub, *chan, *priv, *template_file, *pids, *label, *epoch, *header;
    int conns, window, size, nap_us, one, eio, batched, offsets, pub_conns;
    double rate, secs, warm, settle;
    uint64_t max, from_offset, expect;
} options_t;

typedef struct {
    double cpu_s, user_s, rss_kib;
} usage_t;

extern options_t opt;
extern int ep;

/* sockets.c: the WebSocket connections */
extern int n_open, n_closed, n_failed, n_started;
extern uint64_t frames, bytes, other_frames, total_frames, gaps, unnumbered;
void sockets_prepare(void);
void sockets_start_some(void);
void sockets_event(uint32_t index, uint32_t events);

/* publisher.c: what is sent, and what of it has arrived */
extern pub_t *pubs;
extern uint64_t published, outstanding_want, outstanding_got;
void publisher_prepare(void);
void publisher_open(void);
int publisher_is_on(void);
void publisher_event(uint32_t number);
void publish(uint64_t ts);

/* stats.c: time, histograms, /proc */
extern hist_t all_receipts, last_receipts;
extern uint64_t measured_from, measured_to;
uint64_t now_ns(void);
double hist_quantile_us(const hist_t *h, double q);
usage_t processes_usage(const char *pids);
void cores_busy(double busy[2], double *steal);

/* wsload.c */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void send_all(int fd, const void *p, size_t n);

#endif
