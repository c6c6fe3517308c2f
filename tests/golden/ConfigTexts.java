// Prints memberships as Apache's own classes write them; tests/unit/config/test_dynamic.py holds what it printed.
//
//   java -Dzookeeper.multiAddress.enabled=true -cp 'folder of ZooKeeper 3.9.5 jars/*' tests/golden/ConfigTexts.java TEXT...
//
// A TEXT is a membership with ~ for each newline, and so is the answer.

import java.io.StringReader;
import java.util.Properties;
import org.apache.zookeeper.server.quorum.QuorumPeerConfig;

public class ConfigTexts {
    public static void main(String[] texts) throws Exception {
        for (String text : texts) {
            Properties lines = new Properties();
            lines.load(new StringReader(text.replace('~', '\n')));
            try {
                String written = QuorumPeerConfig.parseDynamicConfig(lines, 3, false, false, null).toString();
                System.out.println(written.replace('\n', '~'));
            } catch (Exception error) {
                System.out.println("refused: " + error);
            }
        }
    }
}
