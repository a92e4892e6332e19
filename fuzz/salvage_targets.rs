//! Fuzz targets for salvage: shared by the fuzz binaries and by the test that replays the corpora.

use jetsam::format::checksum::HashKey;
use jetsam::format::compression::compress;
use jetsam::format::limits::SEQUENCE_MAX;
use jetsam::format::record::{NewRecord, RecordKind, RecordRef, encode_record};
use jetsam::format::seqset::SeqSet;
use jetsam::salvage::scan::{
    Hints, RecordSink, Scratch, SubjectStanding, SubjectWitness, replay_block, scan_block,
};
use jetsam::salvage::{BlockFindings, Lifetimes};

/// Enough for every bit of a record of 500 bytes, little enough for thousands of runs a second.
const WORK_LIMIT: u64 = 1 << 20;
/// Longer blocks say nothing that shorter ones do not.
const BLOCK_MAX: usize = 1 << 16;

/// Subjects that begin with `s` are the stream's.
struct Begins;

impl SubjectWitness for Begins {
    fn standing(&self, subject: &[u8]) -> SubjectStanding {
        match subject.first() {
            Some(b's') => SubjectStanding::Possible,
            _ => SubjectStanding::Impossible,
        }
    }

    fn lists_subjects(&self) -> bool {
        false
    }
}

/// What a walk hands out.
#[derive(Default)]
struct Seen {
    messages: SeqSet,
    count: u64,
    bytes: u64,
}

impl RecordSink for Seen {
    fn record(&mut self, record: &RecordRef, content: &[u8]) {
        assert!(
            record.bytes(content).is_some(),
            "a record outside its content"
        );
        if record.kind() == RecordKind::Message {
            self.messages.insert(record.sequence());
            self.count += 1;
            self.bytes += record.length() as u64;
        }
    }
}

/// A block: the bytes as they are, or records made of them; perhaps compressed; then bits flipped. The first byte says
/// which, and how many flips, which take three bytes each.
pub fn scan(data: &[u8]) {
    let Some((&control, data)) = data.split_first() else {
        return;
    };
    let data = &data[..data.len().min(BLOCK_MAX)];
    let flips = usize::from(control >> 4).min(data.len() / 3);
    let (flips, data) = data.split_at(flips * 3);
    let hash_key = HashKey::for_block(b"S", 1);
    let mut file = match control & 1 {
        0 => data.to_vec(),
        _ => records(data, &hash_key),
    };
    if control & 2 != 0 {
        let mut packed = Vec::new();
        if compress(&file, &mut packed).is_ok() {
            file = packed;
        }
    }
    for flip in flips.chunks_exact(3) {
        let at = usize::from(flip[0]) << 8 | usize::from(flip[1]);
        let length = file.len().max(1);
        if let Some(byte) = file.get_mut(at % length) {
            *byte ^= flip[2];
        }
    }
    check(file, &hash_key);
}

/// Records with sound hashes whose fields are taken from `data`.
fn records(data: &[u8], hash_key: &HashKey) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = data;
    let mut sequence = 0;
    while let [kind, step, length, more @ ..] = rest {
        let (text, behind) = more.split_at(usize::from(*length).min(more.len()));
        rest = behind;
        sequence += u64::from(*step % 5);
        let timestamp_ns = 1_700_000_000_000_000_000 + i64::from(*step);
        let record = match kind % 8 {
            0 => NewRecord::Tombstone {
                sequence,
                timestamp_ns,
            },
            at => NewRecord::Message {
                sequence,
                timestamp_ns,
                subject: &b"s.subjec"[..usize::from(at)],
                headers: if at == 7 {
                    b"NATS/1.0\r\nK: v\r\n\r\n"
                } else {
                    b""
                },
                body: text,
            },
        };
        let _ = encode_record(&mut out, hash_key, &record);
    }
    out
}

fn check(file: Vec<u8>, hash_key: &HashKey) {
    let hints = Hints {
        number: 1,
        hash_key,
        sequences: &(1..=SEQUENCE_MAX),
        subjects: &Begins,
        work_limit: WORK_LIMIT,
        lifetimes: Lifetimes::default(),
    };
    let mut scratch = Scratch::default();
    let mut mended = file.clone();
    let find = scan_block(&mut mended, &hints, &mut scratch);
    let again = scan_block(&mut file.clone(), &hints, &mut Scratch::default());
    assert_eq!(find, again, "a scan depends on what was scanned before");
    assert_eq!(find.file_length, file.len() as u64);
    check_places(&find);
    // What is written is read again from the file as it lies: it must be what was found.
    let mut seen = Seen::default();
    replay_block(&mut file.clone(), hash_key, &find, &mut scratch, &mut seen);
    assert_eq!(seen.messages, find.messages);
    assert_eq!(
        (seen.count, seen.bytes),
        (find.messages.len(), find.message_bytes)
    );
}

/// Gaps lie in order, apart and inside; patches inside the file.
fn check_places(find: &BlockFindings) {
    let mut end = None;
    for gap in &find.gaps {
        assert!(end.is_none_or(|end| gap.offset > end), "{:?}", find.gaps);
        end = Some(gap.offset + gap.length);
        assert!(gap.offset + gap.length <= find.content_length, "{gap:?}");
        assert!(
            gap.file_offset + gap.file_length <= find.file_length,
            "{gap:?}"
        );
    }
    for patch in find.patches() {
        assert!(
            patch.offset < find.file_length && patch.mask != 0,
            "{patch:?}"
        );
    }
}
