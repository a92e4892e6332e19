//! The state of the stream as replicas send it to each other.

use super::reader::Reader;
use crate::format::replica_state::{ReplicaStateEncoder, ReplicaTotals};

impl Reader {
    /// The state in the form in which replicas of a stream send it to each other. `failed_count` is the sender's count of proposals that
    /// were refused. Positions in sources are not in it.
    #[must_use]
    pub fn encoded_state(&self, failed_count: u64) -> Vec<u8> {
        let live = self.shared.live.read();
        let totals = live.state.totals;
        let span = match totals.messages {
            0 => 0,
            _ => totals.last.seq - totals.first.seq + 1,
        };
        let mut encoder = ReplicaStateEncoder::new(&ReplicaTotals {
            message_count: totals.messages,
            bytes: totals.bytes,
            first_seq: totals.first.seq,
            last_seq: totals.last.seq,
            failed_count,
            deleted_count: span - totals.messages,
        });
        // Blocks without a message are part of the gap between those with one.
        let mut next = totals.first.seq;
        let blocks = live.state.blocks.iter();
        for block in blocks.filter(|block| block.message_count > 0) {
            encoder.run(next, block.first.seq.saturating_sub(next));
            encoder.set(&block.deleted);
            next = block.last.seq + 1;
        }
        encoder.run(next, (totals.last.seq + 1).saturating_sub(next));
        encoder.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use crate::env::memory::{MemoryFileSystem, SeededEntropy};
    use crate::format::meta::StreamMeta;
    use crate::format::replica_state::ReplicaState;
    use crate::living::Idle;
    use crate::store::{NewMessage, Store, StoreOptions};

    const NOW_NS: i64 = 1_767_225_600_000_000_000;

    #[test]
    fn it_tells_the_totals_and_what_is_missing_whatever_blocks_there_are() {
        let config = br#"{"name":"S","subjects":["s.>"],"storage":"file"}"#;
        let mut options = StoreOptions::new(StreamMeta::parse(config).unwrap(), NOW_NS);
        options.block_size = Some(300);
        let (fs, entropy) = (MemoryFileSystem::new(), SeededEntropy::new(1));
        let (fs, entropy) = (Arc::new(fs), Arc::new(entropy));
        let dir = Path::new("/s");
        let store = Store::open(fs, entropy, &Idle::declared(), dir, &options).unwrap();
        let (mut writer, reader) = (store.writer().unwrap(), store.reader());
        assert_eq!(reader.encoded_state(3), [0x2a, 1, 0, 0, 0, 0, 3, 0]);
        let message = NewMessage {
            subject: b"s.1",
            headers: b"",
            body: b"0123456789012345678901234567890123456789",
        };
        for _ in 0..60 {
            writer.append(&message, NOW_NS).unwrap();
        }
        writer.skip_many(None, 10_000, NOW_NS).unwrap();
        writer.append(&message, NOW_NS).unwrap();
        for seq in (1..5).chain(7..9).chain(20..40).chain([10_061]) {
            assert!(writer.remove(seq).unwrap());
        }
        let state = ReplicaState::decode(&reader.encoded_state(0)).unwrap();
        let summary = reader.summary();
        assert_eq!(state.deleted, reader.deleted());
        assert_eq!(state.totals.deleted_count, summary.deleted_count);
        assert_eq!(state.totals.message_count, summary.message_count);
        assert_eq!((state.totals.first_seq, state.totals.last_seq), (5, 10_061));
    }
}
