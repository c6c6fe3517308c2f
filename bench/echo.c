/* A stand-in server that answers every request with a canned reply of the right length, and does nothing else.
 *
 *   echo PORT...
 *
 * The load generator measured against it shows the fastest server that the generator could measure at all: same system calls, same
 * bytes, no work. When that is far above what the real servers reach, the generator is not what limits them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "zkwire.h"

enum { IN_SIZE = 512 * 1024, OUT_SIZE = 4 * 1024 * 1024, MULTI_RESULT = 9, VALUE_SIZE = 100 };

struct conn { int fd, open; size_t in_length; uint8_t in[IN_SIZE]; };

static uint8_t out[OUT_SIZE];

static uint8_t *answer_connect(uint8_t *p)
{
    static const uint8_t password[PASSWORD_SIZE] = {1};
    uint8_t *frame = p;
    p = put_int(put_int(p + 4, 0), 30000);
    p = put_bool(put_bytes(put_long(p, 1), password, sizeof password), 0);
    close_frame(frame, p);
    return p;
}

/* Counts the operations of a multi of deletes: all of one size, known from the first path's length. */
static int32_t multi_operations(const uint8_t *request, int32_t length)
{
    int32_t path_length = get_int(request + 8 + 9);
    return (length - 8 - 9) / (9 + 4 + path_length + 4);
}

static uint8_t *answer(uint8_t *p, const uint8_t *request, int32_t length)
{
    uint8_t *frame = p;
    int32_t type = get_int(request + 4);
    p = put_int(put_long(put_int(p + 4, get_int(request)), 1), 0);
    size_t body = 0;
    if (type == OP_GET) {
        put_int(p, VALUE_SIZE);
        body = 4 + VALUE_SIZE + STAT_SIZE;
    } else if (type == OP_SET) {
        body = STAT_SIZE;
    } else if (type == OP_CREATE || type == OP_SYNC) {
        body = 4 + (size_t)get_int(request + 8);
        memcpy(p, request + 8, body);
    } else if (type == OP_MULTI) {
        body = MULTI_RESULT * (size_t)(multi_operations(request, length) + 1);
    }
    close_frame(frame, p + body);
    return p + body;
}

/* Answers all that is complete with one send(); 0 when the connection is over. */
static int serve(struct conn *c)
{
    ssize_t got = recv(c->fd, c->in + c->in_length, IN_SIZE - c->in_length, 0);
    if (got <= 0)
        return 0;
    size_t end = c->in_length + (size_t)got, at = 0;
    uint8_t *p = out;
    while (end - at >= 4) {
        int32_t length = get_int(c->in + at);
        if (length < 8 || (size_t)length > IN_SIZE - 4)
            return 0;
        if (end - at - 4 < (size_t)length)
            break;
        p = c->open ? answer(p, c->in + at + 4, length) : answer_connect(p);
        c->open = 1;
        at += 4 + (size_t)length;
    }
    memmove(c->in, c->in + at, end - at);
    c->in_length = end - at;
    return send(c->fd, out, (size_t)(p - out), MSG_NOSIGNAL) == p - out;
}

static int listen_on(const char *port)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    at.sin_port = htons((uint16_t)atoi(port));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 1024))
        die("cannot listen: %s", strerror(errno));
    return listener;
}

static void watch(int poller, struct conn *c)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
}

int main(int argc, char **argv)
{
    int poller = epoll_create1(0), on = 1;
    struct conn *listeners = calloc((size_t)argc, sizeof *listeners);
    struct epoll_event ready[256];
    if (argc < 2)
        die("usage: echo PORT...");
    for (int i = 1; i < argc; i++) {
        listeners[i].fd = listen_on(argv[i]);
        watch(poller, &listeners[i]);
    }
    for (;;) {
        int n = epoll_wait(poller, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = ready[i].data.ptr;
            if (c >= listeners && c < listeners + argc) {
                struct conn *accepted = calloc(1, sizeof *accepted);
                accepted->fd = accept(c->fd, NULL, NULL);
                setsockopt(accepted->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                watch(poller, accepted);
            } else if (!serve(c)) {
                close(c->fd);
                free(c);
            }
        }
    }
}
