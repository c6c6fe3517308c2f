// Prints the golden bytes of tests/golden/wire_records.json: samples of records as Apache's own classes write them.
//
//   java -cp 'folder of ZooKeeper 3.9.5 jars/*' tests/golden/WireRecords.java > tests/golden/wire_records.json
//
// The same samples stand in tests/unit/wire/samples.py, by the same names.

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.apache.jute.BinaryInputArchive;
import org.apache.jute.BinaryOutputArchive;
import org.apache.jute.Record;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.MultiOperationRecord;
import org.apache.zookeeper.MultiResponse;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.data.StatPersisted;
import org.apache.zookeeper.proto.*;
import org.apache.zookeeper.server.persistence.FileHeader;
import org.apache.zookeeper.server.quorum.LearnerInfo;
import org.apache.zookeeper.server.quorum.QuorumAuthPacket;
import org.apache.zookeeper.server.quorum.QuorumPacket;
import org.apache.zookeeper.txn.*;

public class WireRecords {

    static final List<String> LINES = new ArrayList<>();
    static final byte[] DATA = {0, 1, (byte) 0xff, 'd'};
    static final List<ACL> OPEN = Collections.singletonList(new ACL(31, new Id("world", "anyone")));
    static final List<ACL> TWO = Arrays.asList(
        new ACL(-1, new Id("digest", "bob:\u00e4\u20ac")), new ACL(1, new Id("ip", "")));
    static final List<ACL> NULLS = Collections.singletonList(new ACL(4, new Id(null, null)));
    static final Stat STAT = new Stat(1, -2, 3, 4, 5, -6, 7, Long.MIN_VALUE, 8, 9, Long.MAX_VALUE);
    static final List<String> PATHS = Arrays.asList("/a", "", "/\u00e4\u20ac/b");

    static byte[] bytes(Record record) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        record.serialize(BinaryOutputArchive.getArchive(out), "r");
        return out.toByteArray();
    }

    static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte b : bytes) {
            text.append(String.format("%02x", b));
        }
        return text.toString();
    }

    static void add(String name, Record record) throws IOException {
        LINES.add(String.format("\"%s\": \"%s\"", name, hex(bytes(record))));
    }

    /** What Java reads from a ustring of these bytes, as UTF-16. */
    static void text(String name, int... codes) throws IOException {
        byte[] raw = new byte[codes.length + 4];
        raw[3] = (byte) codes.length;
        for (int i = 0; i < codes.length; i++) {
            raw[i + 4] = (byte) codes[i];
        }
        String read = BinaryInputArchive.getArchive(new ByteArrayInputStream(raw)).readString("s");
        LINES.add(String.format("\"text %s\": [\"%s\", \"%s\"]", name, hex(raw), hex(read.getBytes("UTF-16BE"))));
    }

    static void data() throws IOException {
        add("stat", STAT);
        add("stat persisted", new StatPersisted(1, -2, 3, 4, 5, -6, 7, Long.MIN_VALUE, Long.MAX_VALUE));
        add("client info", new ClientInfo("digest", "b\u00f6b"));
        add("file header", new FileHeader(0x5a4b4c47, 2, -1));
    }

    static void connect() throws IOException {
        add("connect request", new ConnectRequest(0, 77, 30000, -5, new byte[16], true));
        add("connect response", new ConnectResponse(0, 30000, -5, DATA, false));
        add("request header", new RequestHeader(-2, 11));
        add("reply header", new ReplyHeader(7, 1L << 40, -101));
        add("multi header", new MultiHeader(-1, true, -1));
        add("auth", new AuthPacket(0, "digest", DATA));
        add("auth nulls", new AuthPacket(0, null, null));
        add("set watches", new SetWatches(-1, PATHS, null, new ArrayList<>()));
        add("set watches 2", new SetWatches2(9, null, PATHS, null, Collections.singletonList(null), PATHS));
        add("get sasl", new GetSASLRequest(DATA));
        add("sasl reply", new SetSASLResponse(null));
        add("who am i", new WhoAmIResponse(Arrays.asList(new ClientInfo("ip", "::1"), new ClientInfo(null, null))));
    }

    static void requests() throws IOException {
        add("get data", new GetDataRequest("/a", true));
        add("get data null", new GetDataRequest(null, false));
        add("set data", new SetDataRequest("/\u00e4", DATA, -1));
        add("set data null", new SetDataRequest("/a", null, 3));
        add("reconfig", new ReconfigRequest("server.1=a", null, "", -1));
        add("create", new CreateRequest("/a", DATA, OPEN, 3));
        add("create nulls", new CreateRequest(null, null, null, -1));
        add("create null id", new CreateRequest("/a", new byte[0], NULLS, 0));
        add("create ttl", new CreateTTLRequest("/a", DATA, TWO, 5, 1L << 39));
        add("delete", new DeleteRequest("/a", 8));
        add("get children", new GetChildrenRequest("/", false));
        add("get children 2", new GetChildren2Request("/", true));
        add("get all children number", new GetAllChildrenNumberRequest("/a"));
        add("check", new CheckVersionRequest("/a", 2));
        add("sync", new SyncRequest("/a"));
        add("get acl", new GetACLRequest("/a"));
        add("set acl", new SetACLRequest("/a", TWO, 5));
        add("add watch", new AddWatchRequest("/a", 1));
        add("exists", new ExistsRequest("/a", true));
        add("check watches", new CheckWatchesRequest("/a", 3));
        add("remove watches", new RemoveWatchesRequest("/a", 2));
        add("get ephemerals", new GetEphemeralsRequest("/p"));
    }

    static void replies() throws IOException {
        add("set data reply", new SetDataResponse(STAT));
        add("sync reply", new SyncResponse("/a"));
        add("set acl reply", new SetACLResponse(STAT));
        add("event", new WatcherEvent(4, 3, "/a"));
        add("error reply", new ErrorResponse(-110));
        add("create reply", new CreateResponse("/a"));
        add("create 2 reply", new Create2Response("/a", STAT));
        add("exists reply", new ExistsResponse(STAT));
        add("get data reply", new GetDataResponse(DATA, STAT));
        add("get children reply", new GetChildrenResponse(PATHS));
        add("get all children number reply", new GetAllChildrenNumberResponse(12));
        add("get children 2 reply", new GetChildren2Response(new ArrayList<>(), STAT));
        add("get acl reply", new GetACLResponse(TWO, STAT));
        add("get ephemerals reply", new GetEphemeralsResponse(PATHS));
    }

    static void txns() throws IOException {
        add("txn header", new TxnHeader(-7, 3, 1L << 33, 1700000000000L, -11));
        add("txn digest", new TxnDigest(2, -3));
        add("create txn", new CreateTxn("/a", DATA, OPEN, true, 4));
        add("create txn nulls", new CreateTxn("/a", null, null, false, -1));
        add("create txn v0", new CreateTxnV0("/a", DATA, TWO, true));
        add("create ttl txn", new CreateTTLTxn("/a", DATA, TWO, 1, 1000));
        add("create container txn", new CreateContainerTxn("/a", DATA, new ArrayList<>(), 1));
        add("delete txn", new DeleteTxn("/a"));
        add("set data txn", new SetDataTxn("/a", DATA, 9));
        add("check txn", new CheckVersionTxn("/a", 9));
        add("set acl txn", new SetACLTxn("/a", TWO, 2));
        add("create session txn", new CreateSessionTxn(30000));
        add("close session txn", new CloseSessionTxn(PATHS));
        add("error txn", new ErrorTxn(-101));
        Txn error = new Txn(-1, bytes(new ErrorTxn(-2)));
        add("multi txn", new MultiTxn(Arrays.asList(new Txn(2, bytes(new DeleteTxn("/a"))), error)));
        add("multi txn null", new MultiTxn(null));
    }

    static void quorum() throws IOException {
        add("learner info", new LearnerInfo(3, 0x10000, 1L << 32));
        add("quorum packet", new QuorumPacket(2, 5, DATA, Arrays.asList(new Id("ip", "10.0.0.1"))));
        add("quorum packet nulls", new QuorumPacket(5, -1, null, null));
        add("quorum auth", new QuorumAuthPacket(-1, 0, DATA));
    }

    static void multis() throws IOException {
        add("multi", new MultiOperationRecord(Arrays.asList(
            Op.create("/a", DATA, OPEN, CreateMode.PERSISTENT),
            Op.create("/b", DATA, OPEN, CreateMode.CONTAINER),
            Op.create("/c", DATA, OPEN, CreateMode.PERSISTENT_WITH_TTL, 5),
            Op.setData("/a", null, 0),
            Op.check("/a", 1),
            Op.delete("/a", -1))));
        add("multi read", new MultiOperationRecord(Arrays.asList(Op.getData("/a"), Op.getChildren("/b"))));
        add("multi empty", new MultiOperationRecord());
        MultiResponse good = new MultiResponse();
        good.add(new OpResult.CreateResult("/a"));
        good.add(new OpResult.CreateResult("/b", STAT));
        good.add(new OpResult.SetDataResult(STAT));
        good.add(new OpResult.CheckResult());
        good.add(new OpResult.DeleteResult());
        good.add(new OpResult.GetDataResult(DATA, STAT));
        good.add(new OpResult.GetChildrenResult(PATHS));
        add("multi reply", good);
        MultiResponse bad = new MultiResponse();
        for (int code : new int[] {0, -101, -2}) {
            bad.add(new OpResult.ErrorResult(code));
        }
        add("multi reply errors", bad);
        add("multi reply empty", new MultiResponse());
    }

    static void texts() throws IOException {
        add("surrogates", new CreateResponse("\ud83d\ude00"));
        text("four bytes", 'a', 0xf0, 0x9f, 0x98, 0x80, 'b');
        text("bad start", 'a', 0x80, 'b');
        text("bad bytes", 0xff, 0xfe, 'b');
        text("cut two", 'a', 0xc3);
        text("cut three", 'a', 0xe2, 0x82);
        text("cut three inside", 0xe2, 0x82, 'b');
        text("cut four", 0xf0, 0x9f, 0x98);
        text("overlong", 0xc0, 0xaf, 'b');
        text("lone surrogate", 'a', 0xed, 0xa0, 0x80, 'b');
        text("too high", 0xf4, 0x90, 0x80, 0x80);
        text("bom", 0xef, 0xbb, 0xbf, 'a');
    }

    public static void main(String[] arguments) throws IOException {
        data();
        connect();
        requests();
        replies();
        txns();
        quorum();
        multis();
        texts();
        System.out.println("{\n" + String.join(",\n", LINES) + "\n}");
    }
}
