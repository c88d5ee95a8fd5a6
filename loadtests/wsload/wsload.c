/*
 * wsload - a small epoll WebSocket fan-out load client (Linux, loopback only).
 *
 * Opens N connections to one ws:// URL, sends a registration on each, then drives a publisher and
 * counts what the connections receive. The publisher lives in the same process, so that sending and
 * receiving use one clock. It is closed-loop ("the next when all N have an earlier one") or open-loop
 * (a fixed rate; latency counts from the *scheduled* time, so that a stalled server can't hide its
 * queue).
 *
 * A message is any data frame that holds the marker  ts":"<19 digits> : the payload carries 19 zeros
 * there, and the publisher writes CLOCK_MONOTONIC ns into them.
 *
 *   --url URL          ws://127.x.y.z:PORT/PATH
 *   --conns N          connections (100)
 *   --first FMT        text frame after the handshake, with one %d: the connection's index
 *   --answer TEXT      a connection counts as open only after a frame that holds TEXT
 *   --eio              Engine.IO/Socket.IO framing
 *   --batched          look for several messages in one frame (NATS)
 *   --offsets          check that "offset":N, the last field of each message, grows by exactly one per
 *                      connection; violations are "gaps", messages without it "unnumbered"
 *   --pub KIND:PORT    where messages go (default: nowhere, only count)
 *                        raw          "CHANNEL PAYLOAD\n" on a TCP port
 *                        redis        PUBLISH CHANNEL PAYLOAD
 *                        publication  the same with Roomcast's header in front of the payload and
 *                                     "epoch" and "offset" as its last fields; needs --epoch
 *                        lpush        LPUSH CHANNEL PAYLOAD (a list of jobs)
 *                        http         POST CHANNEL (a path)
 *                        nats         PUB CHANNEL
 *   --header H         another header of each POST
 *   --pub-conns N      over so many connections, in turn (1)
 *   --chan C           the channel         --priv FMT   a random connection's, with one %d: its index
 *   --one              each message is for one connection (implied by --priv)
 *   --epoch E --from-offset O              of the publications: the first has offset O + 1
 *   --window W         closed loop with W publishes in flight (1)
 *   --rate R           open loop with R publishes a second
 *   --max M            at most M publishes
 *   --secs S --warm S  measured and unmeasured seconds       --settle S  idle before RSS is read
 *   --size B           bytes of the default payload (200)    --template F  payload from a file, where
 *                      @INDEX is replaced by the target's index as six digits
 *   --pid P[,P...]     server processes: CPU and RSS         --nap US   sleep between polls
 *   --expect N         instead of --secs: until every connection has N messages, 60 s at most;
 *                      "expected_s" counts from the first publish, or from the first connect
 *   --label L          copied to the report
 *
 * Prints one JSON object. Latencies are microseconds: lat_* over all receipts, last_* from the publish
 * to the last of the N receipts of that publish. "backlog" counts receipts that were due when the
 * measured time ended, "undelivered" those still missing two seconds later.
 */
#include "wsload.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 1024, CONNECT_LIMIT_S = 60 };
static const uint64_t SECOND = 1000000000ull;

options_t opt = {.conns = 100, .window = 1, .pub_conns = 1, .size = 200, .secs = 10, .warm = 1, .settle = 0.5,
                 .max = MAX_PUBLISHES, .chan = "broadcast", .label = ""};
int ep;

void die(const char *format, ...)
{
    va_list a;
    va_start(a, format);
    vfprintf(stderr, format, a);
    va_end(a);
    fputc('\n', stderr);
    exit(2);
}

void send_all(int fd, const void *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k > 0) { p = (const char *)p + k; n -= (size_t)k; continue; }
        if (k < 0 && (errno == EAGAIN || errno == EINTR)) { usleep(50); continue; }
        return;
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"url", 1, 0, 'u'}, {"conns", 1, 0, 'n'}, {"first", 1, 0, 'f'}, {"answer", 1, 0, 'a'},
        {"eio", 0, 0, 'e'}, {"batched", 0, 0, 'B'}, {"offsets", 0, 0, 'O'}, {"pub", 1, 0, 'P'},
        {"chan", 1, 0, 'c'}, {"priv", 1, 0, 'v'}, {"one", 0, 0, '1'}, {"epoch", 1, 0, 'E'},
        {"from-offset", 1, 0, 'o'}, {"window", 1, 0, 'w'}, {"rate", 1, 0, 'r'}, {"max", 1, 0, 'm'},
        {"secs", 1, 0, 's'}, {"warm", 1, 0, 'W'}, {"settle", 1, 0, 'S'}, {"size", 1, 0, 'b'},
        {"expect", 1, 0, 'x'}, {"template", 1, 0, 't'}, {"pid", 1, 0, 'i'}, {"nap", 1, 0, 'N'}, {"label", 1, 0, 'l'},
        {"pub-conns", 1, 0, 'p'}, {"header", 1, 0, 'H'}, {0}};
    for (int o; (o = getopt_long(argc, argv, "", known, 0)) != -1;) switch (o) {
        case 'u': opt.url = optarg; break;
        case 'n': opt.conns = atoi(optarg); break;
        case 'f': opt.first = optarg; break;
        case 'a': opt.answer = optarg; break;
        case 'e': opt.eio = 1; break;
        case 'B': opt.batched = 1; break;
        case 'O': opt.offsets = 1; break;
        case 'P': opt.pub = optarg; break;
        case 'c': opt.chan = optarg; break;
        case 'v': opt.priv = optarg; opt.one = 1; break;
        case '1': opt.one = 1; break;
        case 'E': opt.epoch = optarg; break;
        case 'o': opt.from_offset = strtoull(optarg, 0, 10); break;
        case 'w': opt.window = atoi(optarg); break;
        case 'r': opt.rate = atof(optarg); break;
        case 'm': opt.max = strtoull(optarg, 0, 10); break;
        case 's': opt.secs = atof(optarg); break;
        case 'W': opt.warm = atof(optarg); break;
        case 'S': opt.settle = atof(optarg); break;
        case 'b': opt.size = atoi(optarg); break;
        case 't': opt.template_file = optarg; break;
        case 'i': opt.pids = optarg; break;
        case 'N': opt.nap_us = atoi(optarg); break;
        case 'x': opt.expect = strtoull(optarg, 0, 10); break;
        case 'l': opt.label = optarg; break;
        case 'H': opt.header = optarg; break;
        case 'p': opt.pub_conns = atoi(optarg); break;
        default: exit(2);
        }
    if (opt.conns < 1 || opt.conns > MAX_CONNS) die("--conns: 1 to %d", MAX_CONNS);
    if (opt.secs + opt.warm + opt.settle > MAX_SECS) die("more than %d seconds", MAX_SECS);
    if (opt.size > MAX_PAYLOAD) die("--size: at most %d", MAX_PAYLOAD);
    if (opt.max > MAX_PUBLISHES) opt.max = MAX_PUBLISHES;
}

static void poll_once(uint64_t timeout_ns)
{
    static struct epoll_event ev[EVENTS];
    if (opt.nap_us && n_open == opt.conns) usleep((useconds_t)opt.nap_us);
    struct timespec ts = {(time_t)(timeout_ns / SECOND), (long)(timeout_ns % SECOND)};
    int n = epoll_pwait2(ep, ev, EVENTS, &ts, 0);
    for (int k = 0; k < n; k++) {
        if (ev[k].data.u32 >= PUBLISHER) publisher_event(ev[k].data.u32 - PUBLISHER);
        else sockets_event(ev[k].data.u32, ev[k].events);
    }
}

static double connect_all(void)
{
    uint64_t start = now_ns();
    while (n_open + n_failed + n_closed < opt.conns) {
        sockets_start_some();
        poll_once(SECOND / 10);
        if (now_ns() - start > CONNECT_LIMIT_S * SECOND)
            die("only %d of %d connections opened in %d s", n_open, opt.conns, CONNECT_LIMIT_S);
    }
    return (double)(now_ns() - start) / 1e9;
}

static void idle_for(double secs)
{
    uint64_t end = now_ns() + (uint64_t)(secs * 1e9);
    for (uint64_t t; (t = now_ns()) < end;) poll_once(end - t);
}

static uint64_t lost, stalls;

/* Publish what is due at time t; returns for how long nothing more is. */
static uint64_t drive(uint64_t t)
{
    static uint64_t due, last_total, last_progress;
    if (!due) due = last_progress = t;
    if (opt.rate > 0) {
        for (int burst = 0; due <= t && burst < 64 && published < opt.max; burst++) {
            publish(due);
            due += (uint64_t)(1e9 / opt.rate);
        }
        return due > t ? due - t : 0;
    }
    uint64_t each = opt.one ? 1 : (uint64_t)n_open;
    while (outstanding_want - outstanding_got <= (uint64_t)(opt.window - 1) * each && published < opt.max)
        publish(now_ns());
    if (total_frames != last_total) {
        last_total = total_frames;
        last_progress = t;
    } else if (t - last_progress > 2 * SECOND) { /* something was lost: go on, but say so */
        lost += outstanding_want - outstanding_got;
        outstanding_got = outstanding_want;
        stalls++;
        last_progress = t;
    }
    return SECOND / 20;
}

typedef struct {
    struct rusage client;
    usage_t server;
    double busy[2], steal;
} snapshot_t;

static snapshot_t snapshot(void)
{
    snapshot_t s;
    getrusage(RUSAGE_SELF, &s.client);
    s.server = processes_usage(opt.pids);
    cores_busy(s.busy, &s.steal);
    return s;
}

static double client_cpu_s(const struct rusage *u)
{
    return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
           (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e6;
}

/* Until every connection has what it is to have; returns for how long that took since `from`. */
static double await_expected(uint64_t from)
{
    uint64_t wanted = opt.expect * (uint64_t)opt.conns, end = now_ns() + CONNECT_LIMIT_S * SECOND;
    while (total_frames < wanted && n_open && now_ns() < end) {
        uint64_t wait = SECOND / 100;
        if (publisher_is_on() && published < opt.max) {
            uint64_t until_due = drive(now_ns());
            if (until_due < wait) wait = until_due;
        }
        poll_once(wait);
    }
    return total_frames < wanted ? -1 : (double)(now_ns() - from) / 1e9;
}

static double expected_s;

static void report(double connect_s, usage_t before, usage_t idle, snapshot_t a, snapshot_t b, double secs,
                   uint64_t backlog)
{
#define U(x) (unsigned long long)(x)
    printf("{\"label\":\"%s\",\"conns\":%d,\"open\":%d,\"closed\":%d,\"connect_per_s\":%.0f,\"seconds\":%.3f,",
           opt.label, opt.conns, n_open, n_closed + n_failed, opt.conns / connect_s, secs);
    printf("\"expected_s\":%.4f,\"total_frames\":%llu,", expected_s, U(total_frames));
    printf("\"published\":%llu,\"frames\":%llu,\"frames_per_s\":%.0f,\"mb_per_s\":%.2f,", U(published), U(frames),
           (double)frames / secs, (double)bytes / secs / 1e6);
    printf("\"lat_p50_us\":%.0f,\"lat_p99_us\":%.0f,\"lat_max_us\":%.0f,", hist_quantile_us(&all_receipts, .5),
           hist_quantile_us(&all_receipts, .99), (double)all_receipts.max / 1e3);
    printf("\"last_n\":%llu,\"last_p50_us\":%.0f,\"last_p99_us\":%.0f,\"last_max_us\":%.0f,", U(last_receipts.n),
           hist_quantile_us(&last_receipts, .5), hist_quantile_us(&last_receipts, .99),
           (double)last_receipts.max / 1e3);
    printf("\"backlog\":%llu,\"undelivered\":%llu,\"lost\":%llu,\"stalls\":%llu,\"other_frames\":%llu,", U(backlog),
           U(outstanding_want - outstanding_got), U(lost), U(stalls), U(other_frames));
    printf("\"gaps\":%llu,\"unnumbered\":%llu,", U(gaps), U(unnumbered));
    printf("\"client_cpu\":%.2f,\"server_cpu\":%.3f,\"server_user\":%.3f,",
           (client_cpu_s(&b.client) - client_cpu_s(&a.client)) / secs, (b.server.cpu_s - a.server.cpu_s) / secs,
           (b.server.user_s - a.server.user_s) / secs);
    printf("\"core0_busy\":%.2f,\"core1_busy\":%.2f,\"steal\":%.2f,", (b.busy[0] - a.busy[0]) / secs,
           (b.busy[1] - a.busy[1]) / secs, (b.steal - a.steal) / secs);
    printf("\"rss0_kib\":%.0f,\"rss_idle_kib\":%.0f,\"rss_end_kib\":%.0f,\"kib_per_conn\":%.2f}\n", before.rss_kib,
           idle.rss_kib, b.server.rss_kib, (idle.rss_kib - before.rss_kib) / opt.conns);
#undef U
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    sockets_prepare();
    publisher_prepare();
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    ep = epoll_create1(EPOLL_CLOEXEC);

    usage_t before = processes_usage(opt.pids);
    uint64_t began = now_ns();
    double connect_s = connect_all();
    publisher_open();
    if (opt.expect && publisher_is_on()) {
        idle_for(opt.settle);
        began = now_ns();
    }
    if (opt.expect) expected_s = await_expected(began);
    idle_for(opt.settle);
    usage_t idle = processes_usage(opt.pids);
    if (!n_open) die("no connection is open");

    measured_from = now_ns() + (uint64_t)(opt.warm * 1e9);
    measured_to = measured_from + (uint64_t)(opt.secs * 1e9);
    if (opt.expect) measured_to = measured_from = now_ns();
    snapshot_t a = snapshot();
    int measuring = 0;
    for (uint64_t t; (t = now_ns()) < measured_to && n_open;) {
        if (!measuring && t >= measured_from) {
            measuring = 1;
            a = snapshot();
        }
        uint64_t wait = (measuring ? measured_to : measured_from) - t;
        if (publisher_is_on() && published < opt.max) {
            uint64_t until_due = drive(t);
            if (until_due < wait) wait = until_due;
        }
        poll_once(wait);
    }
    double secs = (double)(now_ns() - measured_from) / 1e9;
    snapshot_t b = snapshot();
    uint64_t backlog = outstanding_want - outstanding_got;
    /* open-loop latencies must not be cut off by the end of the measurement */
    for (uint64_t end = now_ns() + 2 * SECOND; now_ns() < end && outstanding_want > outstanding_got;)
        poll_once(SECOND / 100);
    report(connect_s, before, idle, a, b, secs, backlog);
    return 0;
}
