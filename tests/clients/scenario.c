/* The C client's scenario: every line it prints is a step of the test that runs it, see test_clients.py.
 *
 *   scenario host:port     "restart": kill and restart the server, then a line on standard input
 *                          "pause": stop this process until its session has expired, then continue it
 *                          "done": everything was as it should be; anything else is a failure
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

#define EXPECT(want, call)                                                                                             \
    do {                                                                                                               \
        int got_ = (call);                                                                                             \
        if (got_ != (want))                                                                                            \
            fail(__LINE__, #call, got_, (want));                                                                       \
    } while (0)

static void fail(int line, const char *what, int got, int want) {
    printf("line %d: %s is %d, expected %d\n", line, what, got, want);
    fflush(stdout);
    _exit(1);
}

struct events {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int count, type, state;
    char path[256];
};

static struct events session = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, ""};
static struct events nodes = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, ""};

static void watcher(zhandle_t *handle, int type, int state, const char *path, void *context) {
    struct events *events = type == ZOO_SESSION_EVENT ? &session : &nodes;
    (void)handle, (void)context;
    pthread_mutex_lock(&events->lock);
    events->count++;
    events->type = type;
    events->state = state;
    snprintf(events->path, sizeof events->path, "%s", path ? path : "");
    pthread_cond_broadcast(&events->changed);
    pthread_mutex_unlock(&events->lock);
}

static void await_state(int state) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 30;
    pthread_mutex_lock(&session.lock);
    while (session.state != state)
        if (pthread_cond_timedwait(&session.changed, &session.lock, &end) != 0)
            fail(__LINE__, "session state", session.state, state);
    pthread_mutex_unlock(&session.lock);
}

/* One event more than before, of this type on this path. */
static void await_event(int type, const char *path) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 30;
    pthread_mutex_lock(&nodes.lock);
    while (nodes.count == 0)
        if (pthread_cond_timedwait(&nodes.changed, &nodes.lock, &end) != 0)
            fail(__LINE__, path, 0, type);
    EXPECT(1, nodes.count);
    EXPECT(type, nodes.type);
    EXPECT(0, strcmp(nodes.path, path));
    nodes.count = 0;
    pthread_mutex_unlock(&nodes.lock);
}

static struct events synced = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, ""};

static void on_sync(int code, const char *value, const void *data) {
    (void)data;
    watcher(NULL, code == ZOK ? ZOO_NOTWATCHING_EVENT : 0, 0, value, NULL);
}

static void on_auth(int code, const void *data) {
    (void)data;
    pthread_mutex_lock(&synced.lock);
    synced.count++;
    synced.state = code;
    pthread_cond_broadcast(&synced.changed);
    pthread_mutex_unlock(&synced.lock);
}

static void say(const char *step) {
    printf("%s\n", step);
    fflush(stdout);
}

static void create_modes(zhandle_t *handle) {
    static const int modes[] = {0, 1, 2, 3, 4};
    static const char *const paths[] = {"/modes/p", "/modes/e", "/modes/s-0000000002", "/modes/es-0000000003", "/modes/c"};
    static const char *const asked[] = {"/modes/p", "/modes/e", "/modes/s-", "/modes/es-", "/modes/c"};
    char name[256], data[64];
    struct Stat stat;
    int size;
    EXPECT(ZOK, zoo_create(handle, "/modes", NULL, -1, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
    for (int i = 0; i < 5; i++) {
        EXPECT(ZOK, zoo_create2(handle, asked[i], "data", 4, &ZOO_OPEN_ACL_UNSAFE, modes[i], name, sizeof name, &stat));
        EXPECT(0, strcmp(name, paths[i]));
        EXPECT(4, stat.dataLength);
        if (modes[i] & 1)
            EXPECT(1, stat.ephemeralOwner == zoo_client_id(handle)->client_id);
    }
    EXPECT(ZOK, zoo_create2_ttl(handle, "/modes/t-", "ttl", 3, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL,
                                3600000, name, sizeof name, &stat));
    EXPECT(0, strcmp(name, "/modes/t-0000000005"));
    EXPECT(ZNODEEXISTS, zoo_create(handle, "/modes/p", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
    EXPECT(ZNOCHILDRENFOREPHEMERALS, zoo_create(handle, "/modes/e/x", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
    EXPECT(ZNOTEMPTY, zoo_delete(handle, "/modes", -1));
    size = sizeof data;
    EXPECT(ZOK, zoo_get(handle, "/modes/p", 0, data, &size, &stat));
    EXPECT(4, size);
    size = sizeof data;
    EXPECT(ZOK, zoo_get(handle, "/modes", 0, data, &size, &stat));
    EXPECT(-1, size);
    EXPECT(6, stat.numChildren);
}

static void watches(zhandle_t *handle) {
    struct String_vector children;
    struct Stat stat;
    char data[8];
    int size = sizeof data;
    EXPECT(ZNONODE, zoo_wexists(handle, "/watched", watcher, NULL, &stat));
    EXPECT(ZOK, zoo_create(handle, "/watched", "a", 1, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
    await_event(ZOO_CREATED_EVENT, "/watched");
    EXPECT(ZOK, zoo_wget(handle, "/watched", watcher, NULL, data, &size, &stat));
    EXPECT(ZBADVERSION, zoo_set(handle, "/watched", "b", 1, 7));
    EXPECT(ZOK, zoo_set2(handle, "/watched", "b", 1, 0, &stat));
    EXPECT(1, stat.version);
    await_event(ZOO_CHANGED_EVENT, "/watched");
    EXPECT(ZOK, zoo_wget_children(handle, "/watched", watcher, NULL, &children));
    EXPECT(0, children.count);
    deallocate_String_vector(&children);
    EXPECT(ZOK, zoo_create(handle, "/watched/child", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
    await_event(ZOO_CHILD_EVENT, "/watched");
    EXPECT(ZOK, zoo_wexists(handle, "/watched/child", watcher, NULL, &stat));
    EXPECT(ZOK, zoo_delete(handle, "/watched/child", 0));
    await_event(ZOO_DELETED_EVENT, "/watched/child");
    EXPECT(ZOK, zoo_wexists(handle, "/watched", watcher, NULL, &stat));
    EXPECT(ZOK, zoo_remove_watches(handle, "/watched", ZWATCHTYPE_DATA, watcher, NULL, 0));
    EXPECT(ZOK, zoo_set(handle, "/watched", "c", 1, -1));
    EXPECT(ZOK, zoo_async(handle, "/watched", on_sync, NULL));
    /* The completion of the sync is the next thing that arrives: the removed watch has not fired. */
    await_event(ZOO_NOTWATCHING_EVENT, "/watched");
}

static void multi(zhandle_t *handle) {
    zoo_op_t operations[4];
    zoo_op_result_t results[4];
    struct Stat stat;
    char name[64];
    zoo_create_op_init(&operations[0], "/multi", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, name, sizeof name);
    zoo_set_op_init(&operations[1], "/multi", "x", 1, 0, &stat);
    zoo_check_op_init(&operations[2], "/multi", 1);
    zoo_create_op_init(&operations[3], "/multi/s-", "", 0, &ZOO_OPEN_ACL_UNSAFE, 2, name, sizeof name);
    EXPECT(ZOK, zoo_multi(handle, 4, operations, results));
    EXPECT(1, stat.version);
    EXPECT(0, strcmp(name, "/multi/s-0000000000"));
    zoo_set_op_init(&operations[0], "/multi", "y", 1, 1, &stat);
    zoo_delete_op_init(&operations[1], "/none", -1);
    zoo_check_op_init(&operations[2], "/multi", 2);
    EXPECT(ZNONODE, zoo_multi(handle, 3, operations, results));
    EXPECT(ZOK, results[0].err);
    EXPECT(ZNONODE, results[1].err);
    EXPECT(ZRUNTIMEINCONSISTENCY, results[2].err);
    EXPECT(ZOK, zoo_exists(handle, "/multi", 0, &stat));
    EXPECT(1, stat.version);
}

static void acls(zhandle_t *handle, const char *address) {
    struct ACL_vector acl;
    struct Stat stat;
    char data[8];
    int size = sizeof data;
    struct timespec end;
    zhandle_t *stranger;
    EXPECT(ZINVALIDACL, zoo_create(handle, "/private", "", 0, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0));
    EXPECT(ZOK, zoo_add_auth(handle, "digest", "ann:secret", 10, on_auth, NULL));
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 30;
    pthread_mutex_lock(&synced.lock);
    while (synced.count == 0)
        EXPECT(0, pthread_cond_timedwait(&synced.changed, &synced.lock, &end));
    EXPECT(ZOK, synced.state);
    pthread_mutex_unlock(&synced.lock);
    EXPECT(ZOK, zoo_create(handle, "/private", "mine", 4, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0));
    EXPECT(ZOK, zoo_get_acl(handle, "/private", &acl, &stat));
    EXPECT(1, acl.count);
    EXPECT(0, strcmp(acl.data[0].id.scheme, "digest"));
    EXPECT(0, strncmp(acl.data[0].id.id, "ann:", 4));
    deallocate_ACL_vector(&acl);
    stranger = zookeeper_init(address, NULL, 30000, NULL, NULL, 0);
    while (zoo_state(stranger) != ZOO_CONNECTED_STATE)
        usleep(1000);
    EXPECT(ZNOAUTH, zoo_get(stranger, "/private", 0, data, &size, &stat));
    EXPECT(ZNOAUTH, zoo_set(stranger, "/private", "", 0, -1));
    EXPECT(ZOK, zoo_set_acl(handle, "/private", 0, &ZOO_OPEN_ACL_UNSAFE));
    size = sizeof data;
    EXPECT(ZOK, zoo_get(stranger, "/private", 0, data, &size, &stat));
    EXPECT(1, stat.aversion);
    EXPECT(ZOK, zookeeper_close(stranger));
}

static void restart(zhandle_t *handle) {
    int64_t id = zoo_client_id(handle)->client_id;
    struct Stat stat;
    char line[16], data[8];
    int size = sizeof data;
    EXPECT(ZOK, zoo_wget(handle, "/watched", watcher, NULL, data, &size, &stat));
    say("restart");
    if (!fgets(line, sizeof line, stdin))
        fail(__LINE__, "standard input", 0, 1);
    /* The state before the kill may still be there: the first answer decides. */
    while (zoo_exists(handle, "/modes/e", 0, &stat) == ZCONNECTIONLOSS || zoo_state(handle) != ZOO_CONNECTED_STATE)
        usleep(10000);
    EXPECT(1, zoo_client_id(handle)->client_id == id);
    EXPECT(ZOK, zoo_exists(handle, "/modes/e", 0, &stat));
    EXPECT(1, stat.ephemeralOwner == id);
    EXPECT(ZOK, zoo_set(handle, "/watched", "d", 1, -1));
    await_event(ZOO_CHANGED_EVENT, "/watched");
    size = sizeof data;
    EXPECT(ZOK, zoo_set_acl(handle, "/private", 1, &ZOO_CREATOR_ALL_ACL));
    EXPECT(ZOK, zoo_get(handle, "/private", 0, data, &size, &stat));
}

int main(int count, char **arguments) {
    struct Stat stat;
    zhandle_t *handle;
    if (count != 2)
        return 2;
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    handle = zookeeper_init(arguments[1], watcher, 4000, NULL, NULL, 0);
    await_state(ZOO_CONNECTED_STATE);
    create_modes(handle);
    watches(handle);
    multi(handle);
    acls(handle, arguments[1]);
    restart(handle);
    EXPECT(ZOK, zoo_create(handle, "/expires", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0));
    say("pause");
    await_state(ZOO_EXPIRED_SESSION_STATE);
    zookeeper_close(handle);
    handle = zookeeper_init(arguments[1], watcher, 4000, NULL, NULL, 0);
    await_state(ZOO_CONNECTED_STATE);
    EXPECT(ZNONODE, zoo_exists(handle, "/expires", 0, &stat));
    EXPECT(ZOK, zoo_exists(handle, "/modes/p", 0, &stat));
    EXPECT(ZOK, zookeeper_close(handle));
    say("done");
    return 0;
}
