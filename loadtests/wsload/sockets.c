/* The WebSocket connections: handshake, registration, and the hot path of received frames. */
#include "wsload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECEIVE_BUFFER = 256 * 1024, HANDSHAKES_IN_FLIGHT = 128 };

int n_open, n_closed, n_failed, n_started;
uint64_t frames, bytes, other_frames, total_frames, gaps, unnumbered;

static conn_t *conns;
static char host[64], path[512];
static int port;
static struct sockaddr_in address;
static uint8_t *received;
static size_t mark_at = SIZE_MAX; /* where the last message had its marker */

void sockets_prepare(void)
{
    if (!opt.url || sscanf(opt.url, "ws://%63[^:/]:%d%511s", host, &port, path) < 2)
        die("--url ws://A.B.C.D:PORT/PATH");
    if (!path[0]) strcpy(path, "/");
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || (ntohl(address.sin_addr.s_addr) >> 24) != 127)
        die("only loopback addresses (127.0.0.0/8)");
    conns = calloc((size_t)opt.conns, sizeof *conns);
    received = malloc(RECEIVE_BUFFER);
}

/* client frames must be masked; an all-zero key leaves the payload as it is */
static void send_frame(int fd, int opcode, const void *p, size_t n)
{
    uint8_t f[4096];
    size_t h = 2;
    if (n > sizeof f - 8) die("a frame to send is too long");
    f[0] = (uint8_t)(0x80 | opcode);
    if (n < 126) f[1] = (uint8_t)(0x80 | n);
    else {
        f[1] = 0x80 | 126;
        f[2] = (uint8_t)(n >> 8);
        f[3] = (uint8_t)n;
        h = 4;
    }
    memset(f + h, 0, 4);
    memcpy(f + h + 4, p, n);
    send_all(fd, f, h + 4 + n);
}

static void conn_close(conn_t *c)
{
    if (c->state == CLOSED) return;
    if (c->state == OPEN) { n_open--; n_closed++; } else n_failed++;
    c->state = CLOSED;
    close(c->fd);
}

static void conn_start(int i)
{
    conn_t *c = &conns[i];
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    struct epoll_event ev = {.events = EPOLLOUT | EPOLLIN, .data.u32 = (uint32_t)i};
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
    n_started++;
}

void sockets_start_some(void)
{
    while (n_started < opt.conns && n_started - n_open - n_failed - n_closed < HANDSHAKES_IN_FLIGHT)
        conn_start(n_started);
}

static void conn_hello(conn_t *c, uint32_t i)
{
    char req[1200];
    int n = snprintf(req, sizeof req,
                     "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                     path, host, port);
    send_all(c->fd, req, (size_t)n);
    c->state = HANDSHAKING;
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = i};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
}

static void conn_opened(conn_t *c)
{
    c->state = OPEN;
    c->next = published;
    n_open++;
}

static void conn_upgraded(conn_t *c, uint32_t i)
{
    if (opt.first) {
        char text[2048];
        snprintf(text, sizeof text, opt.first, (int)i);
        send_frame(c->fd, 1, text, strlen(text));
    }
    if (opt.answer) c->state = REGISTERING;
    else conn_opened(c);
}

static void on_other(conn_t *c, const uint8_t *p, size_t n)
{
    other_frames++;
    if (c->state == REGISTERING && memmem(p, n, opt.answer, strlen(opt.answer))) conn_opened(c);
    if (opt.eio && n) {
        if (p[0] == '0' && !opt.first) send_frame(c->fd, 1, "40", 2);
        else if (p[0] == '2') send_frame(c->fd, 1, "3", 1);
    }
}

/* The offset is the last field of Roomcast's messages: its digits are read from the end. A message
 * whose offset isn't one more than the last of its connection is a gap, one without any is as bad. */
static void check_offset(conn_t *c, const uint8_t *p, size_t n)
{
    static const char field[] = "\"offset\":";
    uint64_t offset = 0, power = 1;
    size_t k = n - 1;
    if (p[k] != '}') { unnumbered++; return; }
    for (; k > 0 && p[k - 1] >= '0' && p[k - 1] <= '9'; k--, power *= 10)
        offset += (uint64_t)(p[k - 1] - '0') * power;
    if (k == n - 1 || k < sizeof field - 1 || memcmp(p + k - (sizeof field - 1), field, sizeof field - 1)) {
        unnumbered++;
        return;
    }
    if (c->offset && offset != c->offset + 1) gaps++;
    c->offset = offset;
}

static uint64_t publish_with(uint64_t ts)
{
    uint64_t low = 0, high = published;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (pubs[middle].ts < ts) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* A message that carries `digits`: which publish was it, and how old is it at time t? */
static void on_message(conn_t *c, const uint8_t *digits, size_t n, uint64_t t)
{
    uint64_t k = c->next, ts = 0;
    if (k < published && !memcmp(pubs[k].digits, digits, DIGITS))
        ts = pubs[k].ts;
    else {
        for (int i = 0; i < DIGITS; i++) ts = ts * 10 + (uint64_t)(digits[i] - '0');
        k = publish_with(ts);
    }
    int measured = ts >= measured_from && ts < measured_to;
    total_frames++;
    if (measured) hist_add(&all_receipts, t - ts);
    if (t >= measured_from && t < measured_to) { frames++; bytes += n; }
    if (k < published && pubs[k].ts == ts) {
        outstanding_got++;
        if (++pubs[k].got == pubs[k].want && measured) hist_add(&last_receipts, t - ts);
        c->next = k + 1;
    }
}

static void on_payload(conn_t *c, const uint8_t *p, size_t n, uint64_t t)
{
    const uint8_t *m = 0, *end = p + n;
    if (mark_at < n && mark_at + MARK_LEN + DIGITS <= n && !memcmp(p + mark_at, MARK, MARK_LEN))
        m = p + mark_at;
    else
        m = memmem(p, n, MARK, MARK_LEN);
    if (!m || end - m < MARK_LEN + DIGITS) { on_other(c, p, n); return; }
    mark_at = (size_t)(m - p);
    on_message(c, m + MARK_LEN, n, t);
    if (opt.offsets) check_offset(c, p, n);
    while (opt.batched) { /* NATS puts several messages in one frame */
        p = m + MARK_LEN + DIGITS;
        m = memmem(p, (size_t)(end - p), MARK, MARK_LEN);
        if (!m || end - m < MARK_LEN + DIGITS) return;
        on_message(c, m + MARK_LEN, 0, t);
    }
}

/* Take the whole frames of p[0..n). Returns the bytes used, or -1 when the peer closed. */
static ssize_t on_frames(conn_t *c, const uint8_t *p, size_t n, uint64_t t)
{
    size_t off = 0;
    while (n - off >= 2) {
        const uint8_t *f = p + off;
        size_t h = 2;
        uint64_t len = f[1] & 0x7f;
        if (len == 126) {
            h = 4;
            if (n - off < h) break;
            len = (uint64_t)(f[2] << 8 | f[3]);
        } else if (len == 127) {
            h = 10;
            if (n - off < h) break;
            len = 0;
            for (int k = 2; k < 10; k++) len = len << 8 | f[k];
        }
        if (len > RECEIVE_BUFFER - 16) die("a frame of %llu bytes is too long", (unsigned long long)len);
        if (n - off < h + len) break;
        int opcode = f[0] & 15;
        if (opcode == 8) return -1;
        if (opcode == 9) send_frame(c->fd, 10, f + h, len);
        else if (opcode <= 2) on_payload(c, f + h, len, t);
        off += h + len;
    }
    return (ssize_t)off;
}

static void on_readable(conn_t *c, uint32_t i)
{
    size_t have = c->carry_len, off = 0;
    if (have) memcpy(received, c->carry, have);
    ssize_t k = recv(c->fd, received + have, RECEIVE_BUFFER - have, 0);
    if (k < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (k <= 0) { conn_close(c); return; }
    uint64_t t = now_ns();
    size_t n = have + (size_t)k;
    if (c->state == HANDSHAKING) {
        uint8_t *e = memmem(received, n, "\r\n\r\n", 4);
        if (e) {
            if (n < 12 || memcmp(received + 9, "101", 3)) {
                fprintf(stderr, "handshake: %.80s\n", received);
                conn_close(c);
                return;
            }
            off = (size_t)(e + 4 - received);
            conn_upgraded(c, i);
        }
    }
    if (c->state == REGISTERING || c->state == OPEN) {
        ssize_t used = on_frames(c, received + off, n - off, t);
        if (used < 0) { conn_close(c); return; }
        off += (size_t)used;
    }
    c->carry_len = (uint32_t)(n - off);
    if (!c->carry_len) return;
    if (c->carry_cap < c->carry_len) c->carry = realloc(c->carry, c->carry_cap = c->carry_len + 512);
    memcpy(c->carry, received + off, c->carry_len);
}

void sockets_event(uint32_t i, uint32_t events)
{
    conn_t *c = &conns[i];
    if (c->state == CLOSED) return;
    if (c->state != CONNECTING) { on_readable(c, i); return; }
    int err = 0;
    socklen_t len = sizeof err;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
    if (err) {
        fprintf(stderr, "connect: %s\n", strerror(err));
        conn_close(c);
    } else if (events & EPOLLOUT)
        conn_hello(c, i);
}
