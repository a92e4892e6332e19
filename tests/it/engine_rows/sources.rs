//! How far a stream has read its sources.

use jetsam::format::replica_state::ReplicaState;
use jetsam::format::sources::SourcesFile;

use super::bed::{Bed, every_shape};

const ONE: &str = r#","sources":[{"name":"O"}]"#;
const TWO: &str = r#","sources":[{"name":"O"},{"name":"P"}]"#;

fn from(bed: &mut Bed, source: &str, seq: u64) {
    bed.put_with(
        "foo",
        &format!("Nats-Stream-Source: {source} {seq} > >\r\n"),
        "x",
    );
}

fn positions(bed: &Bed) -> Vec<u64> {
    bed.store().with_state(|state| {
        let sources = state.timers.sources();
        sources.map_or_else(Vec::new, |sources| {
            sources.values().map(|position| position.seq).collect()
        })
    })
}

#[test]
fn e_179_positions_follow_what_was_stored_and_nothing_lowers_them() {
    every_shape(ONE, 300, |bed| {
        assert_eq!(positions(bed), [0]);
        for seq in [3, 4, 9] {
            from(bed, "O", seq);
        }
        // Of a stream that is no source, or without a header: nothing.
        from(bed, "Q", 100);
        bed.puts("foo", 1);
        assert_eq!(positions(bed), [9]);
        bed.kill();
        assert_eq!(positions(bed), [9]);
        bed.remove([3]);
        bed.reopen();
        assert_eq!(positions(bed), [9]);
        bed.purge("", 0, 0);
        assert_eq!(positions(bed), [9]);
        bed.kill();
        assert_eq!(positions(bed), [9]);
        // Another source keeps the one that is known, and begins at nothing.
        bed.configure(TWO);
        assert_eq!(positions(bed), [9, 0]);
        from(bed, "P", 2);
        bed.kill();
        assert_eq!(positions(bed), [9, 2]);
        bed.configure(ONE);
        assert_eq!(positions(bed), [9]);
    });
}

#[test]
fn e_179_the_file_of_positions_is_whole_or_refused() {
    let mut bed = Bed::new(super::bed::Shape::PLAIN, TWO, 300);
    from(&mut bed, "O", 7);
    from(&mut bed, "P", 8);
    bed.reopen();
    let file = bed.file("sources.db").unwrap();
    assert_eq!(SourcesFile::decode(&file).unwrap().encode(), file);
    for length in 0..file.len() {
        assert!(SourcesFile::decode(&file[..length]).is_err(), "{length}");
    }
    bed.configure("");
    bed.reopen();
    assert_eq!(positions(&bed), Vec::<u64>::new());
    bed.finish();
}

#[test]
fn e_180_the_state_for_replicas_is_of_the_first_version_without_positions() {
    // Positions are read in such states, and not written: a stream with sources tells the rest.
    every_shape(ONE, 300, |bed| {
        from(bed, "O", 7);
        bed.puts("foo", 5);
        bed.remove([3, 4]);
        let encoded = bed.reader().encoded_state(2);
        assert_eq!(encoded[..2], [0x2a, 1]);
        let state = ReplicaState::decode(&encoded).unwrap();
        assert_eq!((state.sources.len(), state.totals.failed_count), (0, 2));
        assert!(state.deleted.iter().eq([3, 4]));
    });
}
