"""What the tests of the Zab cores share: memberships, transactions, histories, and packets out of effects."""

from struct import pack

from zabra.config.dynamic import parse_config
from zabra.wire.records_txn import SetDataTxn
from zabra.zab.effects import Send, SendTo
from zabra.zab.packets import PACKET_NAMES, PacketStream, singly
from zabra.zab.quorums import make_verifier
from zabra.zab.syncplan import Entry
from zabra.zxid import make_zxid


def config(voters, observers=(), version=0):
    lines = [f"server.{sid}=host{sid}:2888:3888:participant" for sid in voters]
    lines += [f"server.{sid}=host{sid}:2888:3888:observer" for sid in observers]
    return parse_config("\n".join((*lines, f"version={version:x}")))


def majority(*voters, observers=(), version=0):
    return make_verifier(config(voters, observers, version))


def z(epoch, counter):
    return make_zxid(epoch, counter)


def entry(epoch, counter, data=b"txn"):
    """A transaction as in the log: a setData."""
    return transaction(epoch, counter, 5, SetDataTxn(b"/txn", data, 1).encode())


def transaction(epoch, counter, kind, body):
    """One of any kind, with any bytes for its body."""
    return Entry(z(epoch, counter), pack(">qiqqi", 7, 1, z(epoch, counter), 0, kind) + body)


def reconfig_entry(epoch, counter, new):
    return transaction(epoch, counter, 16, SetDataTxn(b"/zookeeper/config", new.text().encode(), -1).encode())


class MemoryHistory:
    """Log files are lists of entries; sizes are what a test says."""

    def __init__(self, committed=(), files=(), last_processed=None, log_base=0, snapshot_size=1000, file_size=100):
        self.committed = list(committed)
        self.files = [list(file) for file in files]
        self.log_base = log_base
        self.snapshot_size = snapshot_size
        self.file_size = file_size
        self.last_processed = last_processed
        if last_processed is None:
            self.last_processed = self.committed[-1].zxid if self.committed else 0

    def _first_file(self, zxid):
        below = [at for at, file in enumerate(self.files) if file[0].zxid < zxid]
        return below[-1] if below else 0

    def log_size(self, zxid):
        return self.file_size * len(self.files[self._first_file(zxid) + 1 :])

    def log_runs(self, zxid):
        runs = []
        for one in self.read_log(zxid):
            if runs and one.zxid == runs[-1][1] + 1:
                runs[-1] = (runs[-1][0], one.zxid)
            else:
                runs.append((one.zxid, one.zxid))
        return runs

    def read_log(self, zxid):
        for file in self.files[self._first_file(zxid) :]:
            yield from file


def packets_in(data):
    """``NAME zxid`` of every packet in some bytes."""
    return [f"{PACKET_NAMES[packet.type]} {packet.zxid:x}" for packet in singly(PacketStream().feed(data))]


def said(effects):
    """Effects as short texts: what is sent by packet, the rest by its fields."""
    texts = []
    for effect in effects:
        if isinstance(effect, SendTo):
            texts += [f"to {','.join(map(str, effect.conns))}: {name}" for name in packets_in(effect.data)]
        elif isinstance(effect, Send):
            texts += [f"send {name}" for name in packets_in(effect.data)]
        else:
            texts.append(effect)
    return texts
