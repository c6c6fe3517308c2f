/* Kills the leader of an ensemble under load and measures how long no write is acknowledged.
 *
 *   failover --port A,B,C --kill PID [--connections N] [--inflight N] [--warmup SECONDS]
 *
 * Every session keeps --inflight setData under way, on a znode that is there already. After --warmup seconds PID gets SIGKILL. A
 * session whose connection ends goes on with the next server, at once, then every RETRY_MS, as itself: same id, same password, the
 * last zxid it saw, xids going on. What counts is the first acknowledged write among those that were sent after the kill.
 *
 * Prints one line of JSON; seconds since the kill:
 *   seconds           the first acknowledged write
 *   session_seconds   the first session that a server took over
 *   all_seconds       every session has had a write acknowledged
 * A wrong reply, a lost session or no acknowledged write within GIVE_UP_S ends the program with code 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "zkwire.h"

enum { SERVERS_MAX = 16, DEPTH_MAX = 64, IN_SIZE = 64 * 1024, VALUE_SIZE = 100, SESSION_TIMEOUT_MS = 30000 };
enum { RETRY_MS = 20, ANSWER_MS = 250, GIVE_UP_S = 60 };
#define NEVER UINT64_MAX
#define MS 1000000ull

static long ports[SERVERS_MAX], leader_pid = 0, connections = 30, inflight = 16;
static int port_count;
static double warmup = 1;
static const char *znode = "/bench/n000000";

enum state { DOWN, ASKING, OPEN };

struct conn {
    enum state state;
    int fd, server;                /* server: index of the port that is tried next, or in use */
    uint64_t due_at;               /* DOWN: when to try; ASKING: when to give that up */
    int64_t session, last_zxid;
    uint8_t password[PASSWORD_SIZE];
    int32_t next_xid, due_xid;
    uint64_t sent_at[DEPTH_MAX];   /* by xid modulo DEPTH_MAX */
    int acknowledged;              /* a write that was sent after the kill */
    size_t in_length;
    uint8_t in[IN_SIZE];
};

static struct conn *conns;
static int poller;
static uint64_t killed_at = NEVER, first_session_at, first_write_at, writes_before, closing;
static long open_count, acknowledged_count;

static int64_t get_long(const uint8_t *in) { return (int64_t)((uint64_t)(uint32_t)get_int(in) << 32 | (uint32_t)get_int(in + 4)); }

/* The connection ended or never came to be: on with the next server, after a pause where this one was no session. */
static void drop(struct conn *c)
{
    int was_open = c->state == OPEN;
    close(c->fd);
    open_count -= was_open;
    c->state = DOWN;
    c->server = (c->server + 1) % port_count;
    c->in_length = 0;
    c->due_xid = c->next_xid; /* the unanswered are given up; xids go on, as two of one session must not be mixed up */
    c->due_at = closing ? NEVER : now_ns() + (was_open ? 0 : RETRY_MS * MS);
}

static void say(struct conn *c, const uint8_t *bytes, size_t size)
{
    ssize_t sent = send(c->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0)
        drop(c);
    else if ((size_t)sent != size)
        die("a server does not take %zu bytes", size);
}

static void dial(struct conn *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)ports[c->server])};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    uint8_t frame[128], *p = frame + 4;
    int on = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to)) { /* on the loopback it is there or refused at once */
        drop(c);
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
    c->state = ASKING;
    c->due_at = now_ns() + ANSWER_MS * MS;
    p = put_int(p, 0);
    p = put_long(p, c->last_zxid);
    p = put_int(p, SESSION_TIMEOUT_MS);
    p = put_long(p, c->session);
    p = put_bool(put_bytes(p, c->password, sizeof c->password), 0);
    say(c, frame, close_frame(frame, p));
}

static void write_more(struct conn *c)
{
    static uint8_t value[VALUE_SIZE], out[DEPTH_MAX * 256];
    uint8_t *p = out;
    uint64_t now = now_ns();
    while (!closing && c->next_xid - c->due_xid < inflight) {
        uint8_t *frame = p;
        c->sent_at[c->next_xid % DEPTH_MAX] = now;
        p = put_text(put_int(put_int(p + 4, c->next_xid++), OP_SET), znode);
        p = put_int(put_bytes(p, value, sizeof value), -1);
        close_frame(frame, p);
    }
    if (p != out)
        say(c, out, (size_t)(p - out));
}

static void take_session(struct conn *c, const uint8_t *reply, int32_t length)
{
    if (length < 20 + PASSWORD_SIZE)
        die("a connect response of %d bytes", length);
    if (get_int(reply + 4) <= 0)
        die("a session was lost");
    if (c->session && get_long(reply + 8) != c->session)
        die("a session became another one");
    c->session = get_long(reply + 8);
    memcpy(c->password, reply + 20, PASSWORD_SIZE);
    c->state = OPEN;
    open_count++;
    if (killed_at != NEVER && !first_session_at)
        first_session_at = now_ns();
}

static void take_reply(struct conn *c, const uint8_t *reply, int32_t length)
{
    int32_t xid = get_int(reply), error = get_int(reply + 12);
    if (length < REPLY_HEADER_SIZE || xid != c->due_xid || xid == c->next_xid)
        die("reply with xid %d where %d was due", xid, c->due_xid);
    uint64_t sent_at = c->sent_at[c->due_xid++ % DEPTH_MAX];
    if (closing)
        return;
    if (error || length != REPLY_HEADER_SIZE + STAT_SIZE)
        die("error %d and %d bytes for a setData", error, length);
    c->last_zxid = get_long(reply + 4);
    if (sent_at < killed_at) {
        writes_before += killed_at == NEVER;
        return;
    }
    if (!first_write_at)
        first_write_at = now_ns();
    acknowledged_count += !c->acknowledged;
    c->acknowledged = 1;
}

static void on_readable(struct conn *c)
{
    ssize_t got = recv(c->fd, c->in + c->in_length, IN_SIZE - c->in_length, MSG_DONTWAIT);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            drop(c);
        return;
    }
    size_t end = c->in_length + (size_t)got, at = 0;
    while (end - at >= 4) {
        int32_t length = get_int(c->in + at);
        if (length < 0 || (size_t)length > IN_SIZE - 4)
            die("a frame of %d bytes", length);
        if (end - at - 4 < (size_t)length)
            break;
        if (c->state == ASKING)
            take_session(c, c->in + at + 4, length);
        else
            take_reply(c, c->in + at + 4, length);
        at += 4 + (size_t)length;
    }
    memmove(c->in, c->in + at, end - at);
    c->in_length = end - at;
    if (c->state == OPEN)
        write_more(c);
}

/* One look at the sockets, and at what is due; a millisecond at most. */
static void turn(void)
{
    struct epoll_event ready[256];
    int n = epoll_wait(poller, ready, 256, 1);
    for (int i = 0; i < n; i++)
        on_readable(ready[i].data.ptr);
    uint64_t now = now_ns();
    for (long i = 0; i < connections; i++) {
        struct conn *c = &conns[i];
        if (c->state == OPEN || now < c->due_at)
            continue;
        if (c->state == ASKING)
            drop(c);
        else
            dial(c);
    }
}

static void close_sessions(void)
{
    uint8_t frame[16];
    uint64_t until = now_ns() + 2000 * MS;
    closing = 1;
    for (long i = 0; i < connections; i++)
        if (conns[i].state == OPEN)
            say(&conns[i], frame, close_frame(frame, put_int(put_int(frame + 4, conns[i].next_xid++), OP_CLOSE)));
    while (open_count && now_ns() < until)
        turn();
}

static void parse_options(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *text = argv[i + 1];
        if (!strcmp(name, "--port"))
            port_count = parse_numbers(text, ports, SERVERS_MAX);
        else if (!strcmp(name, "--kill"))
            leader_pid = strtol(text, NULL, 10);
        else if (!strcmp(name, "--connections"))
            connections = strtol(text, NULL, 10);
        else if (!strcmp(name, "--inflight"))
            inflight = strtol(text, NULL, 10);
        else if (!strcmp(name, "--warmup"))
            warmup = strtod(text, NULL);
        else
            die("unknown option %s", name);
    }
    if (argc % 2 == 0 || !port_count || leader_pid < 2 || connections < 1 || inflight < 1 || inflight > DEPTH_MAX)
        die("usage: failover --port A,B,C --kill PID [--name value]...");
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    conns = calloc((size_t)connections, sizeof *conns);
    poller = epoll_create1(0);
    uint64_t give_up_at = now_ns() + GIVE_UP_S * 1000 * MS;
    for (long i = 0; i < connections; i++) {
        conns[i].server = (int)(i % port_count);
        conns[i].next_xid = conns[i].due_xid = 1;
    }
    while (open_count < connections) {
        turn();
        if (now_ns() > give_up_at)
            die("only %ld of %ld sessions", open_count, connections);
    }
    for (uint64_t until = now_ns() + (uint64_t)(warmup * 1e9); now_ns() < until;)
        turn();
    if (!writes_before)
        die("no write was acknowledged before the kill");
    if (kill((pid_t)leader_pid, SIGKILL))
        die("cannot kill %ld: %s", leader_pid, strerror(errno));
    killed_at = now_ns();
    give_up_at = killed_at + GIVE_UP_S * 1000 * MS;
    while (acknowledged_count < connections) {
        turn();
        if (now_ns() > give_up_at)
            die("%ld of %ld sessions had a write acknowledged within %d s", acknowledged_count, connections, GIVE_UP_S);
    }
    uint64_t all_at = now_ns();
    close_sessions();
    printf("{\"mode\": \"failover\", \"seconds\": %.4f, \"session_seconds\": %.4f, \"all_seconds\": %.4f, \"writes_before\": %llu}\n",
           (double)(first_write_at - killed_at) / 1e9, (double)(first_session_at - killed_at) / 1e9,
           (double)(all_at - killed_at) / 1e9, (unsigned long long)writes_before);
    return 0;
}
