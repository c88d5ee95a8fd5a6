/*
 * climit - the yardstick: one prebuilt frame, one send() to every socket in a loop.
 *
 *   climit WS_PORT CONTROL_PORT      (loopback only)
 *
 * Every line "CHANNEL PAYLOAD\n" that arrives at the control port goes to all WebSocket clients. It is
 * no WebSocket server: the first bytes of a connection are taken for wsload's handshake, whose key, and
 * so its accept, is fixed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FDS = 65536, MAX_FRAME = 65536, EVENTS = 512 };
enum { IS_NEW = 1, IS_CLIENT, IS_CONTROL };

static uint8_t role[MAX_FDS];
static int clients[MAX_FDS], n_clients, place[MAX_FDS];
static char control[1 << 20];
static size_t control_len;

static int listen_on(int port)
{
    int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, (struct sockaddr *)&a, sizeof a) || listen(s, 4096)) {
        perror("listen");
        exit(1);
    }
    return s;
}

static void put(int fd, const uint8_t *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (k > 0) { p += k; n -= (size_t)k; continue; }
        if (errno != EAGAIN) return;
        struct pollfd wait = {fd, POLLOUT, 0};
        poll(&wait, 1, 1000);
    }
}

static void broadcast(const char *line, size_t n)
{
    static uint8_t frame[MAX_FRAME + 4] = {0x81};
    const char *space = memchr(line, ' ', n);
    size_t h = 2;
    if (!space) return;
    n -= (size_t)(space + 1 - line);
    if (n > 65535) return;
    if (n < 126) frame[1] = (uint8_t)n;
    else {
        frame[1] = 126;
        frame[2] = (uint8_t)(n >> 8);
        frame[3] = (uint8_t)n;
        h = 4;
    }
    memcpy(frame + h, space + 1, n);
    for (int i = 0; i < n_clients; i++) put(clients[i], frame, h + n);
}

static void on_control(int fd)
{
    ssize_t k = recv(fd, control + control_len, sizeof control - control_len, 0);
    if (k <= 0) {
        close(fd);
        control_len = 0;
        return;
    }
    control_len += (size_t)k;
    char *start = control, *newline;
    while ((newline = memchr(start, '\n', (size_t)(control + control_len - start)))) {
        broadcast(start, (size_t)(newline - start));
        start = newline + 1;
    }
    control_len -= (size_t)(start - control);
    memmove(control, start, control_len);
}

static void on_socket(int fd)
{
    static const char accepted[] =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    char ignored[4096];
    if (recv(fd, ignored, sizeof ignored, 0) <= 0) {
        if (role[fd] == IS_CLIENT) {
            clients[place[fd]] = clients[--n_clients];
            place[clients[n_clients]] = place[fd];
        }
        close(fd);
    } else if (role[fd] == IS_NEW) {
        put(fd, (const uint8_t *)accepted, sizeof accepted - 1);
        role[fd] = IS_CLIENT;
        place[fd] = n_clients;
        clients[n_clients++] = fd;
    }
}

static void accept_all(int ep, int listener, uint8_t as)
{
    int fd, one = 1;
    while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FDS) { close(fd); continue; }
        role[fd] = as;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event e = {EPOLLIN, {.fd = fd}};
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: climit WS_PORT CONTROL_PORT\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    int sockets = listen_on(atoi(argv[1])), controls = listen_on(atoi(argv[2])), ep = epoll_create1(0);
    struct epoll_event e = {EPOLLIN, {.fd = sockets}}, events[EVENTS];
    epoll_ctl(ep, EPOLL_CTL_ADD, sockets, &e);
    e.data.fd = controls;
    epoll_ctl(ep, EPOLL_CTL_ADD, controls, &e);
    for (;;) {
        int n = epoll_wait(ep, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == sockets) accept_all(ep, fd, IS_NEW);
            else if (fd == controls) accept_all(ep, fd, IS_CONTROL);
            else if (role[fd] == IS_CONTROL) on_control(fd);
            else on_socket(fd);
        }
    }
}
