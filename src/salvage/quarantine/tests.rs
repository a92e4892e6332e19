use super::codec::fuzz_one;
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn entry() -> impl Strategy<Value = QuarantineEntry> {
    let numbers = (any::<u32>(), any::<u64>(), any::<u64>(), any::<u64>());
    let edges = (
        proptest::option::of(any::<u64>()),
        proptest::option::of(any::<u64>()),
    );
    let bytes = (vec(any::<u8>(), 0..80), vec(any::<u8>(), 0..300));
    (
        0_u8..4,
        any::<[bool; 2]>(),
        numbers,
        edges,
        ".{0,40}",
        bytes,
    )
        .prop_map(
            |(
                kind,
                [shares, compressed],
                (number, offset, length, file_offset),
                edges,
                reason,
                bytes,
            )| {
                QuarantineEntry {
                    kind: match kind {
                        0 => EntryKind::Conflict,
                        1 => EntryKind::Gone,
                        _ => EntryKind::Piece,
                    },
                    compressed,
                    shares,
                    number,
                    offset,
                    length,
                    file_offset,
                    before: edges.0,
                    after: edges.1,
                    reason,
                    key: bytes.0,
                    key_offset: file_offset,
                    bytes: bytes.1,
                }
            },
        )
}

fn read_all(file: &[u8]) -> (Vec<QuarantineEntry>, Option<QuarantineFault>) {
    let source = |offset: u64, out: &mut [u8]| {
        let bytes = &file[(offset as usize).min(file.len())..];
        let count = bytes.len().min(out.len());
        out[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    };
    let mut reader = match Reader::new(&source, file.len() as u64) {
        Ok(reader) => reader,
        Err(fault) => return (Vec::new(), Some(fault)),
    };
    let mut entries = Vec::new();
    loop {
        match reader.next_entry() {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => return (entries, None),
            Err(fault) => return (entries, Some(fault)),
        }
    }
}

proptest! {
    #[test]
    fn entries_come_back(entries in vec(entry(), 0..5), cut in any::<prop::sample::Index>()) {
        let mut file = encode_header(b"ORDERS", b"$G");
        let mut ends = vec![file.len()];
        for entry in &entries {
            file.extend(encode_entry(entry));
            ends.push(file.len());
        }
        prop_assert_eq!(read_all(&file), (entries.clone(), None));
        // Cut anywhere, the entries before the cut are there.
        let at = cut.index(file.len());
        let whole = ends.iter().filter(|end| **end <= at).count().saturating_sub(1);
        let (found, fault) = read_all(&file[..at]);
        prop_assert_eq!(found, &entries[..whole]);
        prop_assert_eq!(fault.is_none(), ends.contains(&at));
    }

    #[test]
    fn any_flipped_bit_of_an_entry_is_noticed(entry in entry(), at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let header = encode_header(b"S", b"");
        let mut file = header.clone();
        file.extend(encode_entry(&entry));
        let at = header.len() + at.index(file.len() - header.len());
        file[at] ^= 1_u8 << bit;
        let (found, fault) = read_all(&file);
        prop_assert!(found.is_empty() && fault.is_some());
    }

    #[test]
    fn deletes_come_back(spans in vec((any::<u32>(), 0_u64..5000), 0..40), cut in any::<prop::sample::Index>()) {
        let mut gone = SeqSet::new();
        for (first, length) in &spans {
            gone.insert_range(u64::from(*first)..=u64::from(*first) + length);
        }
        let bytes = encode_gone(&gone);
        prop_assert_eq!(decode_gone(&bytes), gone.clone());
        // Cut anywhere, nothing is deleted that was not.
        let cut = cut.index(bytes.len() + 1);
        let mut some = decode_gone(&bytes[..cut]);
        remove_all(&mut some, &gone);
        prop_assert!(some.is_empty());
    }

    #[test]
    fn anything_may_be_read(data in vec(any::<u8>(), 0..200), framed in any::<bool>()) {
        let mut file = if framed { encode_header(b"S", b"A") } else { Vec::new() };
        file.extend(data);
        fuzz_one(&file);
    }
}

#[test]
fn lengths_are_believed_only_as_far_as_the_file_goes() {
    let mut file = encode_header(b"S", b"");
    let offset = file.len() as u64;
    file.extend(60_000_000_u32.to_le_bytes());
    assert_eq!(read_all(&file).1, Some(QuarantineFault::Cut { offset }));
    file.truncate(offset as usize);
    file.extend(u32::MAX.to_le_bytes());
    let length = u64::from(u32::MAX);
    assert_eq!(
        read_all(&file).1,
        Some(QuarantineFault::TooLong { offset, length })
    );
}
