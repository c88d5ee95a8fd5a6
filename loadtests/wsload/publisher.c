/* The publisher: its connections to whatever the server under test takes its messages from. */
#include "wsload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define INDEX "@INDEX"
#define INDEX_LEN 6

static enum { NONE, RAW, REDIS, LPUSH, HTTP, NATS, PUBLICATION, KINDS } kind;
static const char *kind_names[] = {"none", "raw", "redis", "lpush", "http", "nats", "publication"};
static int fds[MAX_PUBLISHERS], answers_seen;
static uint8_t *payload;
static size_t payload_len, payload_ts, payload_index;
static uint64_t pubs_capacity, *offsets;

pub_t *pubs;
uint64_t published, outstanding_want, outstanding_got;

static void payload_default(void)
{
    int n = sprintf((char *)payload,
                    "{\"ts\":\"0000000000000000000\",\"type\":\"notification\","
                    "\"id\":\"9f1c2f7e-1f2b-4c55-9d7e-0c1b6a8e7d10\",\"title\":\"New message\",\"body\":\"");
    for (; n < opt.size - 2; n++) payload[n] = (uint8_t)"lorem ipsum dolor sit amet "[n % 27];
    payload[n++] = '"';
    payload[n++] = '}';
    payload_len = (size_t)n;
}

static void payload_from_file(const char *name)
{
    FILE *f = fopen(name, "rb");
    if (!f) die("template: %s", strerror(errno));
    payload_len = fread(payload, 1, MAX_PAYLOAD, f);
    fclose(f);
    while (payload_len && payload[payload_len - 1] == '\n') payload_len--;
}

void publisher_prepare(void)
{
    payload = malloc(MAX_PAYLOAD + 256);
    if (opt.template_file) payload_from_file(opt.template_file);
    else payload_default();
    uint8_t *m = memmem(payload, payload_len, "0000000000000000000", DIGITS);
    if (!m) die("the template has no field of 19 zeros");
    payload_ts = (size_t)(m - payload);
    m = memmem(payload, payload_len, INDEX, INDEX_LEN);
    payload_index = m ? (size_t)(m - payload) : SIZE_MAX;
    offsets = malloc((size_t)opt.conns * sizeof *offsets);
    for (int i = 0; i < opt.conns; i++) offsets[i] = opt.from_offset;
}

void publisher_open(void)
{
    if (!opt.pub) return;
    const char *colon = strchr(opt.pub, ':');
    if (!colon) die("--pub KIND:PORT");
    size_t n = (size_t)(colon - opt.pub);
    for (int k = 1; k < KINDS; k++)
        if (strlen(kind_names[k]) == n && !memcmp(opt.pub, kind_names[k], n)) kind = k;
    if (!kind) die("--pub: unknown kind");
    if (kind == PUBLICATION && (!opt.epoch || payload[payload_len - 1] != '}'))
        die("--pub publication needs --epoch and a payload that is a JSON object");
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (opt.pub_conns < 1 || opt.pub_conns > MAX_PUBLISHERS) die("--pub-conns: 1 to %d", MAX_PUBLISHERS);
    for (int i = 0; i < opt.pub_conns; i++) {
        int one = 1, fd = fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) die("publisher: %s", strerror(errno));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (kind == NATS) send_all(fd, "CONNECT {\"verbose\":false}\r\n", 27);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        struct epoll_event ev = {.events = EPOLLIN, .data.u32 = PUBLISHER + (uint32_t)i};
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
    }
}

int publisher_is_on(void) { return kind != NONE; }

static size_t bulk(uint8_t *out, const void *p, size_t n)
{
    size_t h = (size_t)sprintf((char *)out, "$%zu\r\n", n);
    memcpy(out + h, p, n);
    memcpy(out + h + n, "\r\n", 2);
    return h + n + 2;
}

/* "<epoch> <offset> <accepted ms> -\n<text>", as common/model/publication.py describes it */
static size_t publication(uint8_t *out, uint64_t offset)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    unsigned long long ms = (unsigned long long)t.tv_sec * 1000 + (unsigned long long)t.tv_nsec / 1000000;
    return (size_t)sprintf((char *)out, "%s %llu %llu -\n%.*s,\"epoch\":\"%s\",\"offset\":%llu}", opt.epoch,
                           (unsigned long long)offset, ms, (int)payload_len - 1, payload, opt.epoch,
                           (unsigned long long)offset);
}

static size_t request(uint8_t *out, const char *chan, int target)
{
    static uint8_t text[MAX_PAYLOAD + 1024];
    size_t n = 0;
    switch (kind) {
    case RAW: n = (size_t)sprintf((char *)out, "%s ", chan); break;
    case NATS: n = (size_t)sprintf((char *)out, "PUB %s %zu\r\n", chan, payload_len); break;
    case HTTP:
        n = (size_t)sprintf((char *)out,
                            "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                            "%s%sContent-Length: %zu\r\n\r\n", chan, opt.header ? opt.header : "",
                            opt.header ? "\r\n" : "", payload_len);
        break;
    case LPUSH:
        n = (size_t)sprintf((char *)out, "*3\r\n$5\r\nLPUSH\r\n");
        n += bulk(out + n, chan, strlen(chan));
        return n + bulk(out + n, payload, payload_len);
    default:
        n = (size_t)sprintf((char *)out, "*3\r\n$7\r\nPUBLISH\r\n");
        n += bulk(out + n, chan, strlen(chan));
        if (kind == REDIS) return n + bulk(out + n, payload, payload_len);
        return n + bulk(out + n, text, publication(text, ++offsets[target]));
    }
    memcpy(out + n, payload, payload_len);
    n += payload_len;
    if (kind == RAW) out[n++] = '\n';
    if (kind == NATS) { out[n++] = '\r'; out[n++] = '\n'; }
    return n;
}

/* ts: the time that latency is counted from */
void publish(uint64_t ts)
{
    static uint8_t out[MAX_PAYLOAD + 4096];
    char chan[256], digits[32];
    int target = 0;
    if (published == pubs_capacity) {
        pubs_capacity = pubs_capacity ? pubs_capacity * 2 : 65536;
        pubs = realloc(pubs, pubs_capacity * sizeof *pubs);
        if (!pubs) die("out of memory");
    }
    if (opt.priv) {
        target = (int)(random() % opt.conns);
        snprintf(chan, sizeof chan, opt.priv, target);
    } else
        snprintf(chan, sizeof chan, "%s", opt.chan);
    snprintf(digits, sizeof digits, "%019llu", (unsigned long long)ts);
    memcpy(payload + payload_ts, digits, DIGITS);
    if (payload_index != SIZE_MAX) {
        char index[16];
        snprintf(index, sizeof index, "%06d", target);
        memcpy(payload + payload_index, index, INDEX_LEN);
    }
    pub_t *p = &pubs[published++];
    *p = (pub_t){.ts = ts, .want = opt.one ? 1 : (uint32_t)n_open};
    memcpy(p->digits, digits, DIGITS);
    outstanding_want += p->want;
    send_all(fds[published % (uint64_t)opt.pub_conns], out, request(out, chan, target));
}

void publisher_event(uint32_t number)
{
    static char b[65536];
    int fd = fds[number];
    ssize_t k = recv(fd, b, sizeof b - 1, 0);
    if (k == 0) die("the publisher's connection was closed");
    if (k < 0) return;
    b[k] = 0;
    if (kind == NATS && memmem(b, (size_t)k, "PING", 4)) send_all(fd, "PONG\r\n", 6);
    if (answers_seen++) return;
    /* a server that refuses what it is sent would otherwise look like one that loses it */
    int refused = kind == HTTP ? k > 9 && b[9] != '2' : b[0] == '-';
    if (refused) die("the first publish was refused: %.300s", b);
}
