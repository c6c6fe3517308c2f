import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.client.ZKClientConfig;
import org.apache.zookeeper.data.Stat;

/** The Java client's scenario; its steps are those of scenario.c. */
public final class Scenario {
    private static final byte[] EMPTY = {};
    private static final BlockingQueue<KeeperState> states = new LinkedBlockingQueue<>();
    private static final BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();

    private interface Call {
        void run() throws Exception;
    }

    private static void same(Object wanted, Object found) {
        if (!Objects.equals(wanted, found)) {
            throw new AssertionError("found " + found + ", expected " + wanted);
        }
    }

    private static void fails(Code code, Call call) throws Exception {
        try {
            call.run();
        } catch (KeeperException error) {
            same(code, error.code());
            return;
        }
        throw new AssertionError("no error, expected " + code);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static final Watcher SESSION = event -> {
        if (event.getType() == EventType.None) {
            states.add(event.getState());
        }
    };
    private static final Watcher NODES = event -> {
        if (event.getType() != EventType.None) {
            events.add(event);
        }
    };

    private static void awaitState(KeeperState wanted) throws InterruptedException {
        KeeperState state;
        do {
            state = states.poll(30, TimeUnit.SECONDS);
            if (state == null) {
                throw new AssertionError("no session event, expected " + wanted);
            }
        } while (state != wanted);
    }

    private static void awaitEvent(EventType type, String path) throws InterruptedException {
        WatchedEvent event = events.poll(30, TimeUnit.SECONDS);
        if (event == null) {
            throw new AssertionError("no event, expected " + type + " of " + path);
        }
        same(type + " " + path, event.getType() + " " + event.getPath());
    }

    private static ZooKeeper connect(String address) throws Exception {
        ZooKeeper client = new ZooKeeper(address, 4000, SESSION, new ZKClientConfig());
        awaitState(KeeperState.SyncConnected);
        return client;
    }

    private static void sync(ZooKeeper client, String path) throws Exception {
        CompletableFuture<Integer> done = new CompletableFuture<>();
        client.sync(path, (code, name, context) -> done.complete(code), null);
        same(0, done.get(30, TimeUnit.SECONDS));
    }

    private static void createModes(ZooKeeper client) throws Exception {
        client.create("/modes", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        CreateMode[] modes = {
            CreateMode.PERSISTENT, CreateMode.EPHEMERAL, CreateMode.PERSISTENT_SEQUENTIAL,
            CreateMode.EPHEMERAL_SEQUENTIAL, CreateMode.CONTAINER,
        };
        String[] asked = {"p", "e", "s-", "es-", "c"};
        String[] made = {"p", "e", "s-0000000002", "es-0000000003", "c"};
        for (int i = 0; i < modes.length; i++) {
            Stat stat = new Stat();
            String path = client.create("/modes/" + asked[i], bytes("data"), Ids.OPEN_ACL_UNSAFE, modes[i], stat);
            same("/modes/" + made[i], path);
            same(4, stat.getDataLength());
            if (modes[i].isEphemeral()) {
                same(client.getSessionId(), stat.getEphemeralOwner());
            }
        }
        Stat stat = new Stat();
        CreateMode ttl = CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL;
        same("/modes/t-0000000005", client.create("/modes/t-", EMPTY, Ids.OPEN_ACL_UNSAFE, ttl, stat, 3_600_000));
        fails(Code.NODEEXISTS, () -> client.create("/modes/p", EMPTY, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        fails(
            Code.NOCHILDRENFOREPHEMERALS,
            () -> client.create("/modes/e/x", EMPTY, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        fails(Code.NOTEMPTY, () -> client.delete("/modes", -1));
        same(null, client.getData("/modes", false, stat));
        same(6, stat.getNumChildren());
        same(6, client.getAllChildrenNumber("/modes"));
        List<String> ephemerals = new ArrayList<>(client.getEphemerals());
        ephemerals.sort(null);
        same(Arrays.asList("/modes/e", "/modes/es-0000000003"), ephemerals);
    }

    private static void watches(ZooKeeper client) throws Exception {
        same(null, client.exists("/watched", NODES));
        client.create("/watched", bytes("a"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        awaitEvent(EventType.NodeCreated, "/watched");
        client.getData("/watched", NODES, null);
        fails(Code.BADVERSION, () -> client.setData("/watched", bytes("b"), 7));
        same(1, client.setData("/watched", bytes("b"), 0).getVersion());
        awaitEvent(EventType.NodeDataChanged, "/watched");
        same(new ArrayList<String>(), client.getChildren("/watched", NODES));
        client.create("/watched/child", EMPTY, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        awaitEvent(EventType.NodeChildrenChanged, "/watched");

        client.addWatch("/watched", NODES, AddWatchMode.PERSISTENT_RECURSIVE);
        client.setData("/watched/child", bytes("1"), -1);
        awaitEvent(EventType.NodeDataChanged, "/watched/child");
        client.create("/watched/child/deep", EMPTY, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        awaitEvent(EventType.NodeCreated, "/watched/child/deep");
        client.delete("/watched/child/deep", -1);
        awaitEvent(EventType.NodeDeleted, "/watched/child/deep");
        client.setData("/watched", bytes("c"), -1);
        awaitEvent(EventType.NodeDataChanged, "/watched");
        client.removeWatches("/watched", NODES, Watcher.WatcherType.PersistentRecursive, false);
        awaitEvent(EventType.PersistentWatchRemoved, "/watched");
        client.setData("/watched", bytes("d"), -1);
        sync(client, "/watched");
        same(0, events.size());

        client.addWatch("/watched", NODES, AddWatchMode.PERSISTENT);
        client.create("/watched/other", EMPTY, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        awaitEvent(EventType.NodeChildrenChanged, "/watched");
    }

    private static void multi(ZooKeeper client) throws Exception {
        List<OpResult> results = client.multi(Arrays.asList(
            Op.create("/multi", EMPTY, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
            Op.setData("/multi", bytes("x"), 0),
            Op.check("/multi", 1),
            Op.create("/multi/s-", EMPTY, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_SEQUENTIAL)));
        same("/multi/s-0000000000", ((OpResult.CreateResult) results.get(3)).getPath());
        fails(Code.NONODE, () -> client.multi(Arrays.asList(
            Op.setData("/multi", bytes("y"), 1), Op.delete("/none", -1), Op.check("/multi", 2))));
        same(1, client.exists("/multi", false).getVersion());
        List<OpResult> reads = client.multi(Arrays.asList(Op.getData("/multi"), Op.getChildren("/multi")));
        same("x", new String(((OpResult.GetDataResult) reads.get(0)).getData(), StandardCharsets.UTF_8));
        same(Arrays.asList("s-0000000000"), ((OpResult.GetChildrenResult) reads.get(1)).getChildren());
    }

    private static void acls(ZooKeeper client, String address) throws Exception {
        fails(
            Code.INVALIDACL,
            () -> client.create("/private", EMPTY, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        client.addAuthInfo("digest", bytes("ann:secret"));
        client.create("/private", bytes("mine"), Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        Stat stat = new Stat();
        same("digest", client.getACL("/private", stat).get(0).getId().getScheme());
        same(2, client.whoAmI().size());
        ZooKeeper stranger = connect(address);
        fails(Code.NOAUTH, () -> stranger.getData("/private", false, null));
        fails(Code.NOAUTH, () -> stranger.setData("/private", EMPTY, -1));
        same(1, client.setACL("/private", Ids.OPEN_ACL_UNSAFE, 0).getAversion());
        same("mine", new String(stranger.getData("/private", false, null), StandardCharsets.UTF_8));
        stranger.close();
        // Closing counts as a session event of its own.
        states.clear();
    }

    private static void restart(ZooKeeper client) throws Exception {
        long id = client.getSessionId();
        System.out.println("restart");
        same("restarted", new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8)).readLine());
        awaitState(KeeperState.Disconnected);
        awaitState(KeeperState.SyncConnected);
        same(id, client.getSessionId());
        same(id, client.exists("/modes/e", false).getEphemeralOwner());
        // The persistent watch was set again, and so was who we are.
        client.setData("/watched", bytes("e"), -1);
        awaitEvent(EventType.NodeDataChanged, "/watched");
        client.setACL("/private", Ids.CREATOR_ALL_ACL, 1);
        same("mine", new String(client.getData("/private", false, null), StandardCharsets.UTF_8));
    }

    public static void main(String[] arguments) throws Exception {
        ZooKeeper client = connect(arguments[0]);
        createModes(client);
        watches(client);
        multi(client);
        acls(client, arguments[0]);
        restart(client);
        client.create("/expires", EMPTY, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        System.out.println("pause");
        awaitState(KeeperState.Expired);
        fails(Code.SESSIONEXPIRED, () -> client.exists("/modes/p", false));
        client.close();
        states.clear();
        ZooKeeper fresh = connect(arguments[0]);
        same(null, fresh.exists("/expires", false));
        same(null, fresh.exists("/modes/e", false));
        same(4, fresh.exists("/modes/p", false).getDataLength());
        fresh.close();
        System.out.println("done");
    }
}
