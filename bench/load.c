/* Load generator of the benchmark: N client sessions on raw sockets, one thread, one epoll loop, requests prepared in advance.
 *
 *   load run   --op get|set|create|mix  a closed loop: every session keeps --inflight requests under way for --seconds, or --ops in all
 *   load fill  --ops N                  creates N znodes, 1,000 under each parent, and leaves them there
 *   load watch --rounds R               every session watches one znode, one write, the time until the last event has arrived
 *
 * Prints one line of JSON. Every reply is checked: its xid is the one that is due, its error is 0, its length is the exact one
 * for that request. Anything else ends the program with code 1, so that a figure never comes from a server that answers wrongly.
 *
 * Times: a request counts from just before its send() to just after the recv() that brought its reply. Requests that are answered
 * outside the measured window do not count. `--pid` names the server, whose CPU time is read at both ends of the window.
 *
 * An ensemble is given as `--port A,B,C` and `--pid A,B,C`: sessions go to its servers in turn, CPU times are added up. A server
 * may lag behind the others, so before the measurement every session asks its server to catch up (sync).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "histogram.h"
#include "zkwire.h"

enum { DEPTH_MAX = 1024, IN_SIZE = 256 * 1024, OUT_SIZE = 512 * 1024, REQUEST_MAX = 16 * 1024 };
enum { SERVERS_MAX = 16, PATH_MAX_LENGTH = 128, DELETES_PER_MULTI = 100, CHILDREN_PER_PARENT = 1000, SESSION_TIMEOUT_MS = 30000 };
#define FOREVER UINT64_MAX

/* ---- settings ------------------------------------------------------------------------------------------------------- */

static struct {
    const char *mode, *op, *host, *root, *samples, *port, *pid;
    long connections, inflight, ops, read_percent, znodes, value_size, rounds, keep;
    double seconds, warmup;
} opt = {.op = "get", .host = "127.0.0.1", .root = "/bench", .port = "2181", .pid = "", .connections = 20, .inflight = 1, .read_percent = 90,
         .znodes = 1000, .value_size = 100, .rounds = 20, .seconds = 3, .warmup = 1};
static long ports[SERVERS_MAX], pids[SERVERS_MAX];
static int port_count, pid_count;

static void parse_options(int argc, char **argv)
{
    struct { const char *name; const char **text; long *number; double *real; } table[] = {
        {"--op", &opt.op, 0, 0}, {"--host", &opt.host, 0, 0}, {"--root", &opt.root, 0, 0}, {"--samples", &opt.samples, 0, 0},
        {"--port", &opt.port, 0, 0}, {"--connections", 0, &opt.connections, 0}, {"--inflight", 0, &opt.inflight, 0},
        {"--ops", 0, &opt.ops, 0}, {"--read-percent", 0, &opt.read_percent, 0}, {"--znodes", 0, &opt.znodes, 0},
        {"--value-size", 0, &opt.value_size, 0}, {"--pid", &opt.pid, 0, 0}, {"--rounds", 0, &opt.rounds, 0},
        {"--keep", 0, &opt.keep, 0}, {"--seconds", 0, 0, &opt.seconds}, {"--warmup", 0, 0, &opt.warmup},
    };
    if (argc < 2 || argc % 2)
        die("usage: load run|fill|watch [--name value]...");
    opt.mode = argv[1];
    for (int i = 2; i < argc; i += 2) {
        size_t k = 0, known = sizeof table / sizeof *table;
        while (k < known && strcmp(table[k].name, argv[i]))
            k++;
        if (k == known)
            die("unknown option %s", argv[i]);
        if (table[k].text)
            *table[k].text = argv[i + 1];
        else if (table[k].number)
            *table[k].number = strtol(argv[i + 1], NULL, 10);
        else
            *table[k].real = strtod(argv[i + 1], NULL);
    }
    if (opt.connections < 1 || opt.inflight < 1 || opt.inflight > DEPTH_MAX || opt.znodes < 1 || opt.value_size < 0 ||
        opt.value_size > 8192 || strlen(opt.root) > 64)
        die("an option is out of range");
    port_count = parse_numbers(opt.port, ports, SERVERS_MAX);
    pid_count = *opt.pid ? parse_numbers(opt.pid, pids, SERVERS_MAX) : 0;
}

/* ---- connections ---------------------------------------------------------------------------------------------------- */

struct conn {
    long port;
    int fd, waits_for_room;
    int32_t next_xid, due_xid;    /* of the next request to send and of the next reply to come; their difference is in flight */
    long quota;                   /* requests that this connection may still send, for builders that look at it */
    uint64_t sent_at[DEPTH_MAX];  /* by xid modulo DEPTH_MAX */
    int32_t expected[DEPTH_MAX];  /* length of the reply; negative: that length, or the error "node exists" */
    size_t in_length, out_start, out_end;
    uint8_t *in, *out;
};

static struct conn *conns;
static int poller;
static uint64_t events_seen, first_event_at, last_event_at;

static void watch_socket(struct conn *c, int operation)
{
    struct epoll_event e = {.events = EPOLLIN | (c->waits_for_room ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &e))
        die("epoll_ctl: %s", strerror(errno));
}

static void dial(struct conn *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)c->port)};
    static const uint8_t no_password[PASSWORD_SIZE];
    uint8_t frame[128], *p = frame + 4;
    int on = 1;
    if (inet_pton(AF_INET, opt.host, &to.sin_addr) != 1)
        die("%s is not an IPv4 address", opt.host);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to))
        die("connect: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    p = put_int(p, 0);                   /* protocol version */
    p = put_long(p, 0);                  /* last zxid seen */
    p = put_int(p, SESSION_TIMEOUT_MS);
    p = put_long(p, 0);                  /* a new session */
    p = put_bytes(p, no_password, sizeof no_password);
    p = put_bool(p, 0);                  /* no read-only server */
    size_t size = close_frame(frame, p);
    if (send(c->fd, frame, size, MSG_NOSIGNAL) != (ssize_t)size)
        die("send: %s", strerror(errno));
}

static void accept_session(struct conn *c)
{
    uint8_t reply[64];
    if (recv(c->fd, reply, 4, MSG_WAITALL) != 4)
        die("the server closed a connection instead of opening a session");
    int32_t length = get_int(reply);
    if (length < 36 || length > 60 || recv(c->fd, reply, (size_t)length, MSG_WAITALL) != length)
        die("a connect response of %d bytes", length);
    if (get_int(reply + 4) <= 0)
        die("the server refused a session");
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    watch_socket(c, EPOLL_CTL_ADD);
}

/* In groups smaller than the shortest listen queue (50 in Apache ZooKeeper), where a full queue costs a second of retransmission. */
static void open_sessions(void)
{
    enum { GROUP = 32 };
    conns = calloc((size_t)opt.connections, sizeof *conns);
    poller = epoll_create1(0);
    for (long first = 0; first < opt.connections; first += GROUP) {
        long last = first + GROUP < opt.connections ? first + GROUP : opt.connections;
        for (long i = first; i < last; i++) {
            conns[i].port = ports[i % port_count];
            conns[i].in = malloc(IN_SIZE);
            conns[i].out = malloc(OUT_SIZE);
            conns[i].next_xid = conns[i].due_xid = 1;
            dial(&conns[i]);
        }
        for (long i = first; i < last; i++)
            accept_session(&conns[i]);
    }
}

static void flush(struct conn *c)
{
    while (c->out_start < c->out_end) {
        ssize_t sent = send(c->fd, c->out + c->out_start, c->out_end - c->out_start, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0)
            die("send: %s", strerror(errno));
        c->out_start += (size_t)sent;
    }
    int waits = c->out_start < c->out_end;
    if (!waits)
        c->out_start = c->out_end = 0;
    if (waits != c->waits_for_room) {
        c->waits_for_room = waits;
        watch_socket(c, EPOLL_CTL_MOD);
    }
}

/* ---- what is measured ----------------------------------------------------------------------------------------------- */

static struct histogram latency;
static struct { uint64_t from, to; int begun, ended; uint64_t began_at, ended_at; double self_cpu, server_cpu; } window;
static struct sample { uint32_t at_us, latency_ns; } *samples;
static size_t sample_count, sample_room;

static double self_cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* User and system time of all threads of a process so far. */
static double cpu_seconds_of(long pid)
{
    char name[64], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(name, sizeof name, "/proc/%ld/stat", pid);
    FILE *f = fopen(name, "r");
    if (!f)
        die("no process %ld", pid);
    size_t length = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[length] = 0;
    char *rest = strrchr(text, ')'); /* the command may hold blanks and brackets */
    if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        die("cannot read %s", name);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* That of the named servers together. */
static double server_cpu_seconds(void)
{
    double seconds = 0;
    for (int i = 0; i < pid_count; i++)
        seconds += cpu_seconds_of(pids[i]);
    return seconds;
}

static void move_window(uint64_t now)
{
    if (!window.begun && now >= window.from) {
        window.begun = 1;
        window.began_at = now;
        window.self_cpu = -self_cpu_seconds();
        window.server_cpu = -server_cpu_seconds();
    }
    if (window.begun && !window.ended && now >= window.to) {
        window.ended = 1;
        window.ended_at = now;
        window.self_cpu += self_cpu_seconds();
        window.server_cpu += server_cpu_seconds();
    }
}

static void count_reply(uint64_t sent_at, uint64_t now)
{
    if (!window.begun || window.ended)
        return;
    histogram_add(&latency, now - sent_at);
    if (!opt.samples)
        return;
    if (sample_count == sample_room) {
        sample_room = sample_room ? sample_room * 2 : 1 << 20;
        samples = realloc(samples, sample_room * sizeof *samples);
        if (!samples)
            die("no memory for samples");
    }
    uint64_t capped = now - sent_at < UINT32_MAX ? now - sent_at : UINT32_MAX;
    samples[sample_count++] = (struct sample){(uint32_t)((now - window.began_at) / 1000), (uint32_t)capped};
}

/* ---- the loop ------------------------------------------------------------------------------------------------------- */

/* Writes one request without its xid being known to anyone else and says what reply it expects; 0 when there is nothing to send. */
typedef size_t builder(struct conn *c, uint8_t *out, int32_t *expected);

static builder *build;
static int depth;
static uint64_t stop_at, outstanding;

static void top_up(struct conn *c, uint64_t now)
{
    if (now >= stop_at)
        return;
    while (c->next_xid - c->due_xid < depth && c->out_end + REQUEST_MAX < OUT_SIZE) {
        int slot = c->next_xid % DEPTH_MAX;
        size_t size = build(c, c->out + c->out_end, &c->expected[slot]);
        if (!size)
            break;
        c->sent_at[slot] = now;
        c->out_end += size;
        c->next_xid++;
        outstanding++;
    }
    if (c->out_end && !c->waits_for_room)
        flush(c);
}

static void take_reply(struct conn *c, const uint8_t *frame, int32_t length, uint64_t now)
{
    if (length < REPLY_HEADER_SIZE)
        die("a reply of %d bytes", length);
    int32_t xid = get_int(frame), error = get_int(frame + 12);
    if (xid == XID_EVENT) {
        if (!events_seen++)
            first_event_at = now;
        last_event_at = now;
        return;
    }
    int slot = c->due_xid % DEPTH_MAX;
    int32_t expected = c->expected[slot];
    if (c->due_xid == c->next_xid || xid != c->due_xid)
        die("reply with xid %d where %d was due", xid, c->due_xid);
    if (error ? !(expected < 0 && error == ERR_NODE_EXISTS) : length != abs(expected))
        die("xid %d: error %d and %d bytes where %d were due", xid, error, length, abs(expected));
    c->due_xid++;
    outstanding--;
    count_reply(c->sent_at[slot], now);
}

static void on_readable(struct conn *c)
{
    ssize_t got = recv(c->fd, c->in + c->in_length, IN_SIZE - c->in_length, 0);
    uint64_t now = now_ns();
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        die("the server closed a connection (%s)", got ? strerror(errno) : "end of stream");
    size_t end = c->in_length + (size_t)got, at = 0;
    while (end - at >= 4) {
        int32_t length = get_int(c->in + at);
        if (length < 0 || (size_t)length > IN_SIZE - 4)
            die("a frame of %d bytes", length);
        if (end - at - 4 < (size_t)length)
            break;
        take_reply(c, c->in + at + 4, length, now);
        at += 4 + (size_t)length;
    }
    memmove(c->in, c->in + at, end - at);
    c->in_length = end - at;
    top_up(c, now);
}

/* Keeps `phase_depth` requests of `phase_build` in flight on every connection until the builder runs dry or `until` has passed;
 * returns when all is answered and `events_due` watch events are in. */
static void run_phase(builder *phase_build, int phase_depth, uint64_t until, uint64_t events_due)
{
    struct epoll_event ready[256];
    build = phase_build, depth = phase_depth, stop_at = until;
    uint64_t now = now_ns();
    move_window(now);
    for (long i = 0; i < opt.connections; i++)
        top_up(&conns[i], now_ns());
    while (outstanding || events_seen < events_due) {
        int n = epoll_wait(poller, ready, 256, 10000);
        if (n == 0)
            die("no answer for ten seconds, %llu requests under way", (unsigned long long)outstanding);
        if (n < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        move_window(now_ns());
        for (int i = 0; i < n; i++) {
            struct conn *c = ready[i].data.ptr;
            if (ready[i].events & EPOLLOUT)
                flush(c);
            if (ready[i].events & ~(uint32_t)EPOLLOUT)
                on_readable(c);
        }
    }
}

/* ---- requests ------------------------------------------------------------------------------------------------------- */

static uint8_t value[8192];
static char parent[PATH_MAX_LENGTH - 40]; /* room for the names below it */
static uint64_t sent_count, send_limit; /* of the running phase, for builders that count */
static uint64_t chance = 88172645463325252ull;
static int children_spread;            /* 1: one directory for each CHILDREN_PER_PARENT names */

/* The frequent requests, prepared once for each znode; only the xid changes. */
static uint8_t *get_frames, *set_frames;
static size_t get_size, set_size;

static uint64_t next_chance(void)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return chance;
}

static uint8_t *open_request(uint8_t *out, int32_t xid, int32_t type) { return put_int(put_int(out + 4, xid), type); }

static size_t make_get(uint8_t *out, int32_t xid, const char *path, int watch)
{
    return close_frame(out, put_bool(put_text(open_request(out, xid, OP_GET), path), watch));
}

static size_t make_set(uint8_t *out, int32_t xid, const char *path)
{
    uint8_t *p = put_text(open_request(out, xid, OP_SET), path);
    return close_frame(out, put_int(put_bytes(p, value, (size_t)opt.value_size), -1));
}

static size_t make_create(uint8_t *out, int32_t xid, const char *path, size_t path_length, long data_size)
{
    uint8_t *p = put_bytes(open_request(out, xid, OP_CREATE), path, path_length);
    p = put_bytes(p, value, (size_t)data_size);
    p = put_int(p, 1); /* one ACL entry: everything for everyone */
    p = put_int(p, 31);
    p = put_text(p, "world");
    p = put_text(p, "anyone");
    return close_frame(out, put_int(p, 0)); /* persistent */
}

static void prepare_frames(void)
{
    char path[PATH_MAX_LENGTH];
    get_frames = malloc((size_t)opt.znodes * 256);
    set_frames = malloc((size_t)opt.znodes * (256 + (size_t)opt.value_size));
    for (long i = 0; i < opt.znodes; i++) {
        snprintf(path, sizeof path, "%s/n%06ld", opt.root, i); /* all of one length */
        get_size = make_get(get_frames + (size_t)i * get_size, 0, path, 0);
        set_size = make_set(set_frames + (size_t)i * set_size, 0, path);
    }
}

static size_t copy_prepared(struct conn *c, uint8_t *out, const uint8_t *frames, size_t size)
{
    memcpy(out, frames + next_chance() % (uint64_t)opt.znodes * size, size);
    put_int(out + 4, c->next_xid);
    return size;
}

static size_t build_get(struct conn *c, uint8_t *out, int32_t *expected)
{
    if (sent_count++ >= send_limit)
        return 0;
    *expected = REPLY_HEADER_SIZE + 4 + (int32_t)opt.value_size + STAT_SIZE;
    return copy_prepared(c, out, get_frames, get_size);
}

static size_t build_set(struct conn *c, uint8_t *out, int32_t *expected)
{
    if (sent_count++ >= send_limit)
        return 0;
    *expected = REPLY_HEADER_SIZE + STAT_SIZE;
    return copy_prepared(c, out, set_frames, set_size);
}

static size_t build_mix(struct conn *c, uint8_t *out, int32_t *expected)
{
    return (long)(next_chance() % 100) < opt.read_percent ? build_get(c, out, expected) : build_set(c, out, expected);
}

/* The path of the index-th znode that the create builders make; returns its length. */
static size_t child_path(char *path, uint64_t index)
{
    size_t length = strlen(parent);
    memcpy(path, parent, length);
    if (children_spread) {
        memcpy(path + length, "/d", 2);
        put_digits((uint8_t *)path + length + 2, 6, index / CHILDREN_PER_PARENT);
        length += 8;
    }
    memcpy(path + length, "/n", 2);
    put_digits((uint8_t *)path + length + 2, 9, index);
    return length + 11;
}

static size_t build_create(struct conn *c, uint8_t *out, int32_t *expected)
{
    char path[PATH_MAX_LENGTH];
    if (sent_count >= send_limit)
        return 0;
    size_t length = child_path(path, sent_count++);
    *expected = REPLY_HEADER_SIZE + 4 + (int32_t)length;
    return make_create(out, c->next_xid, path, length, opt.value_size);
}

/* Creates what may be there already: the parents and the 1,000 znodes. Index 0 is the root. */
static size_t build_setup(struct conn *c, uint8_t *out, int32_t *expected)
{
    char path[PATH_MAX_LENGTH];
    if (sent_count >= send_limit || (sent_count == 0 && c != conns))
        return 0;
    if (sent_count == 0)
        snprintf(path, sizeof path, "%s", opt.root);
    else
        snprintf(path, sizeof path, "%s/n%06llu", opt.root, (unsigned long long)sent_count - 1);
    sent_count++;
    *expected = -(REPLY_HEADER_SIZE + 4 + (int32_t)strlen(path));
    return make_create(out, c->next_xid, path, strlen(path), opt.value_size);
}

static size_t build_parent(struct conn *c, uint8_t *out, int32_t *expected)
{
    char path[PATH_MAX_LENGTH];
    if (sent_count >= send_limit)
        return 0;
    if (children_spread && sent_count > 0)
        snprintf(path, sizeof path, "%s/d%06u", parent, (unsigned)sent_count - 1);
    else
        snprintf(path, sizeof path, "%s", parent);
    sent_count++;
    *expected = -(REPLY_HEADER_SIZE + 4 + (int32_t)strlen(path));
    return make_create(out, c->next_xid, path, strlen(path), 0);
}

/* Deletes the children that build_create made, many to a multi, and the parent with the last. */
static uint64_t delete_total;
static size_t build_delete(struct conn *c, uint8_t *out, int32_t *expected)
{
    char path[PATH_MAX_LENGTH];
    if (sent_count >= delete_total)
        return 0;
    uint8_t *p = open_request(out, c->next_xid, OP_MULTI);
    int n = 0;
    for (; n < DELETES_PER_MULTI && sent_count < delete_total; n++) {
        size_t length = child_path(path, sent_count++);
        p = put_int(put_bool(put_int(p, OP_DELETE), 0), -1);
        p = put_int(put_bytes(p, path, length), -1);
    }
    p = put_int(put_bool(put_int(p, -1), 1), -1);
    *expected = REPLY_HEADER_SIZE + 9 * (n + 1); /* a delete that fails would add its error's 4 bytes */
    return close_frame(out, p);
}

static size_t build_delete_parent(struct conn *c, uint8_t *out, int32_t *expected)
{
    if (sent_count++)
        return 0;
    *expected = REPLY_HEADER_SIZE;
    return close_frame(out, put_int(put_text(open_request(out, c->next_xid, OP_DELETE), parent), -1));
}

static size_t build_close(struct conn *c, uint8_t *out, int32_t *expected)
{
    if (!c->quota)
        return 0;
    c->quota--;
    *expected = REPLY_HEADER_SIZE;
    return close_frame(out, open_request(out, c->next_xid, OP_CLOSE));
}

static size_t build_sync(struct conn *c, uint8_t *out, int32_t *expected)
{
    if (!c->quota)
        return 0;
    c->quota--;
    *expected = REPLY_HEADER_SIZE + 4 + (int32_t)strlen(opt.root);
    return close_frame(out, put_text(open_request(out, c->next_xid, OP_SYNC), opt.root));
}

static size_t build_watching_get(struct conn *c, uint8_t *out, int32_t *expected)
{
    char path[PATH_MAX_LENGTH];
    if (!c->quota)
        return 0;
    c->quota--;
    snprintf(path, sizeof path, "%s/n%06d", opt.root, 0);
    *expected = REPLY_HEADER_SIZE + 4 + (int32_t)opt.value_size + STAT_SIZE;
    return make_get(out, c->next_xid, path, 1);
}

static size_t build_one_set(struct conn *c, uint8_t *out, int32_t *expected)
{
    char path[PATH_MAX_LENGTH];
    if (!c->quota)
        return 0;
    c->quota--;
    snprintf(path, sizeof path, "%s/n%06d", opt.root, 0);
    *expected = REPLY_HEADER_SIZE + STAT_SIZE;
    return make_set(out, c->next_xid, path);
}

/* ---- modes ---------------------------------------------------------------------------------------------------------- */

static void set_quota(long first, long last, long quota)
{
    for (long i = 0; i < opt.connections; i++)
        conns[i].quota = i >= first && i < last ? quota : 0;
}

static void run_counted(builder *b, int phase_depth, uint64_t limit)
{
    sent_count = 0, send_limit = limit;
    run_phase(b, phase_depth, FOREVER, 0);
}

static void setup_znodes(void)
{
    run_counted(build_setup, 1, 1);
    send_limit = (uint64_t)opt.znodes + 1;
    run_phase(build_setup, 16, FOREVER, 0);
    set_quota(0, opt.connections, 1);
    run_phase(build_sync, 1, FOREVER, 0);
}

static void close_sessions(void)
{
    /* One at a time: a server ends the connection right after its answer, which run_phase would take for a failure. */
    for (long i = 0; i < opt.connections; i++) {
        set_quota(i, i + 1, 1);
        run_phase(build_close, 1, FOREVER, 0);
        epoll_ctl(poller, EPOLL_CTL_DEL, conns[i].fd, NULL);
        close(conns[i].fd);
    }
}

static void print_result(const char *name)
{
    double seconds = (double)(window.ended_at - window.began_at) / 1e9, thousands = (double)latency.count / 1000;
    if (!latency.count)
        die("no answer in the measured time");
    printf("{\"mode\": \"%s\", \"connections\": %ld, \"inflight\": %ld, \"seconds\": %.3f, \"operations\": %llu, \"rate\": %.0f, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, \"generator_cpu_share\": %.3f, "
           "\"server_cpu_s\": %.2f, \"server_cpu_s_per_1000\": %.6f, \"began_ns\": %llu}\n",
           name, opt.connections, opt.inflight, seconds, (unsigned long long)latency.count, (double)latency.count / seconds,
           (double)histogram_quantile(&latency, 0.5) / 1e3, (double)histogram_quantile(&latency, 0.99) / 1e3,
           (double)histogram_quantile(&latency, 0.999) / 1e3, (double)latency.max / 1e3, window.self_cpu / seconds, window.server_cpu,
           window.server_cpu / thousands, (unsigned long long)window.began_at);
}

static void save_samples(void)
{
    FILE *f = fopen(opt.samples, "wb");
    if (!f || fwrite(samples, sizeof *samples, sample_count, f) != sample_count || fclose(f))
        die("cannot write %s", opt.samples);
}

/* Runs one workload with the measured window around it: by time after a warm-up, or a number of operations as a whole. */
static void measure(builder *b, uint64_t limit)
{
    uint64_t now = now_ns();
    window.from = limit == FOREVER ? now + (uint64_t)(opt.warmup * 1e9) : now;
    window.to = limit == FOREVER ? window.from + (uint64_t)(opt.seconds * 1e9) : FOREVER;
    sent_count = 0, send_limit = limit;
    run_phase(b, (int)opt.inflight, window.to, 0);
    window.to = 0; /* ends the window here where no time did; else it has ended */
    move_window(now_ns());
}

static void remove_children(uint64_t count)
{
    delete_total = count;
    run_counted(build_delete, 4, FOREVER);
    run_counted(build_delete_parent, 1, FOREVER);
}

static void mode_run(void)
{
    uint64_t limit = opt.ops ? (uint64_t)opt.ops : FOREVER;
    int creates = !strcmp(opt.op, "create");
    builder *b = creates                  ? build_create
                 : !strcmp(opt.op, "get") ? build_get
                 : !strcmp(opt.op, "set") ? build_set
                 : !strcmp(opt.op, "mix") ? build_mix
                                          : NULL;
    if (!b)
        die("unknown operation %s", opt.op);
    setup_znodes();
    prepare_frames();
    if (creates) {
        snprintf(parent, sizeof parent, "%s/c%ld-%llu", opt.root, (long)getpid(), (unsigned long long)now_ns());
        run_counted(build_parent, 1, 1);
    }
    measure(b, limit);
    uint64_t made = sent_count;
    if (creates && !opt.keep)
        remove_children(made);
    close_sessions();
    print_result(opt.op);
    if (opt.samples)
        save_samples();
}

static void mode_fill(void)
{
    if (opt.ops < 1)
        die("fill needs --ops");
    children_spread = 1;
    snprintf(parent, sizeof parent, "%s", opt.root);
    run_counted(build_parent, 1, 1);
    send_limit = 1 + ((uint64_t)opt.ops + CHILDREN_PER_PARENT - 1) / CHILDREN_PER_PARENT;
    run_phase(build_parent, 16, FOREVER, 0);
    measure(build_create, (uint64_t)opt.ops);
    close_sessions();
    print_result("fill");
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The first connection writes, the others watch. A round is over when each watcher has its event and the writer its reply. */
static void mode_watch(void)
{
    if (opt.connections < 2 || opt.rounds < 1)
        die("watch needs two connections and one round");
    double *last = calloc((size_t)opt.rounds, sizeof *last), *first = calloc((size_t)opt.rounds, sizeof *first);
    long warmup_rounds = (long)opt.warmup;
    setup_znodes();
    for (long round = -warmup_rounds; round < opt.rounds; round++) {
        set_quota(1, opt.connections, 1);
        run_phase(build_watching_get, 1, FOREVER, 0);
        set_quota(0, 1, 1);
        events_seen = 0;
        uint64_t start = now_ns();
        run_phase(build_one_set, 1, FOREVER, (uint64_t)opt.connections - 1);
        if (events_seen != (uint64_t)opt.connections - 1)
            die("%llu events for %ld watchers", (unsigned long long)events_seen, opt.connections - 1);
        if (round >= 0) {
            first[round] = (double)(first_event_at - start) / 1e6;
            last[round] = (double)(last_event_at - start) / 1e6;
        }
        events_seen = 0;
    }
    close_sessions();
    qsort(first, (size_t)opt.rounds, sizeof *first, by_value);
    qsort(last, (size_t)opt.rounds, sizeof *last, by_value);
    printf("{\"mode\": \"watch\", \"watchers\": %ld, \"rounds\": %ld, \"first_event_ms\": %.3f, \"last_event_ms\": %.3f, "
           "\"last_event_ms_min\": %.3f, \"last_event_ms_max\": %.3f}\n",
           opt.connections - 1, opt.rounds, first[opt.rounds / 2], last[opt.rounds / 2], last[0], last[opt.rounds - 1]);
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    memset(value, 'v', sizeof value);
    window.from = window.to = FOREVER; /* nothing counts before measure() */
    open_sessions();
    if (!strcmp(opt.mode, "run"))
        mode_run();
    else if (!strcmp(opt.mode, "fill"))
        mode_fill();
    else if (!strcmp(opt.mode, "watch"))
        mode_watch();
    else
        die("unknown mode %s", opt.mode);
    return 0;
}
