use super::*;
use proptest::prelude::*;

fn stream(chunks: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, body) in chunks {
        out.push(*kind);
        out.extend_from_slice(&(body.len() as u32).to_le_bytes()[..3]);
        out.extend_from_slice(body);
    }
    out
}

fn block(stream: &[u8]) -> Vec<u8> {
    [&b"cmp\x01\x08"[..], stream, b"TRAILER!"].concat()
}

fn data(decoded: &[u8], body: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c(decoded)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8);
    [&crc.to_le_bytes()[..], body].concat()
}

fn decode(block: &[u8]) -> Result<Vec<u8>, CompressionFault> {
    let mut out = vec![9];
    decompress(block, &mut out).map(|()| out)
}

const S2: (u8, &[u8]) = (0xff, b"S2sTwO");
const SNAPPY: (u8, &[u8]) = (0xff, b"sNaPpY");

fn fault(chunks: &[(u8, &[u8])]) -> ChunkFault {
    match decode(&block(&stream(chunks))) {
        Err(CompressionFault::Chunk { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_mark_decides() {
    assert_eq!(
        detect(b"cmp\x01\xee\x3f"),
        Ok(Framing::S2 {
            original_length: 8174,
            payload_offset: 6
        })
    );
    for plain in [
        &b""[..],
        b"cmp\x01",
        b"cmp\x00\x05",
        b"cmp\x02\x05",
        b"cmq\x01\x05",
    ] {
        assert_eq!(detect(plain), Ok(Framing::Plain));
        assert_eq!(decode(plain), Ok(plain.to_vec()));
    }
    assert!(matches!(
        decode(b"cmp\x01\xff"),
        Err(CompressionFault::LengthBroken(_))
    ));
    assert_eq!(
        decode(b"cmp\x01\x051234567"),
        Err(CompressionFault::TrailerMissing { remaining: 7 })
    );
}

#[test]
fn an_empty_stream_is_a_bare_trailer() {
    assert_eq!(decode(&block(b"")).as_deref(), Ok(&b"TRAILER!"[..]));
    assert_eq!(
        decode(&block(&stream(&[S2]))).as_deref(),
        Ok(&b"TRAILER!"[..])
    );
}

#[test]
fn chunks_of_every_accepted_kind() {
    let stored = data(b"abc", b"abc");
    // Literal "abcd", copy of 4 from 4 back, repeat of that offset with a length of 8, 4 + 256 and 4 + 65536.
    let elements = [
        &[0x90, 0x82, 4][..],
        &[3 << 2],
        b"abcd",
        &[1, 4],
        &[5 << 2 | 1, 0, 0],
        &[6 << 2 | 1, 0, 0, 0],
        &[7 << 2 | 1, 0, 0, 0, 0],
    ];
    let elements = elements.concat();
    let decoded = b"abcd".repeat((4 + 4 + 8 + 260 + 65540) / 4);
    let mut declared = Vec::new();
    put_uvarint(&mut declared, decoded.len() as u64);
    let compressed = data(&decoded, &[&declared[..], &elements[3..]].concat());
    let wrapped = block(&stream(&[
        S2,
        (1, &stored),
        (0xfe, b"padding"),
        (0x80, b""),
        SNAPPY,
        S2,
        (0, &compressed),
        (1, &data(b"", b"")),
        (0, &data(b"", &[0])),
    ]));
    assert_eq!(
        decode(&wrapped),
        Ok([b"abc", &decoded[..], b"TRAILER!"].concat())
    );
}

#[test]
fn what_readers_refuse() {
    let good = data(b"abc", b"abc");
    assert_eq!(fault(&[(1, &good)]), ChunkFault::NoIdentifier { found: 1 });
    assert_eq!(
        fault(&[(0xfe, b"")]),
        ChunkFault::NoIdentifier { found: 0xfe }
    );
    assert_eq!(fault(&[(0xff, b"S2sTwo")]), ChunkFault::BadIdentifier);
    assert_eq!(fault(&[(0xff, b"S2sTwO!")]), ChunkFault::BadIdentifier);
    for found in [2, 0x7f] {
        assert_eq!(
            fault(&[S2, (found, b"")]),
            ChunkFault::UnknownType { found }
        );
    }
    assert_eq!(
        fault(&[S2, (1, b"123")]),
        ChunkFault::BadLength { length: 3 }
    );
    assert!(matches!(
        fault(&[S2, (1, &data(b"abd", b"abc"))]),
        ChunkFault::Crc { .. }
    ));
    let corrupt = |elements: &[u8]| fault(&[S2, (0, &data(b"", elements))]);
    assert_eq!(corrupt(&[]), ChunkFault::BadDecodedLength);
    assert_eq!(
        corrupt(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]),
        ChunkFault::BadDecodedLength
    );
    assert_eq!(
        corrupt(&[0xff, 0xff, 0xff, 0xff, 0x1f]),
        ChunkFault::BadDecodedLength
    );
    assert_eq!(
        corrupt(&[0x81, 0x80, 0x80, 2]),
        ChunkFault::DecodedTooLong {
            length: (4 << 20) + 1,
            most: 4 << 20
        }
    );
    for (elements, decoded_length) in [
        (&[4][..], 0),                                // declared 4, nothing there
        (&[4, 0, b'a', 1, 0], 1), // repeat before any copy: length 4 leaves no room
        (&[5, 0, b'a', 1, 0], 1), // repeat before any copy
        (&[5, 0, b'a', 1, 2], 1), // copy from before the start
        (&[5, 0, b'a', 2, 0, 0], 1), // offset 0
        (&[4, 0, b'a', 1, 1], 1), // one byte too many
        (&[2, 0, b'a', 60 << 2], 1), // literal length cut off
        (&[9, 0, b'a', 5 << 2 | 1, 0], 1), // repeat length cut off
        (&[9, 8 << 2, b'a', b'b'], 0), // literal cut off
        (&[3, 63 << 2, 255, 255, 255, 255, b'a'], 0), // literal of 4 GiB
    ] {
        let decoded_length = if elements == [4, 0, b'a', 1, 0] {
            1
        } else {
            decoded_length
        };
        assert_eq!(
            corrupt(elements),
            ChunkFault::Corrupt { decoded_length },
            "{elements:?}"
        );
    }
    let long = vec![7; SNAPPY_MOST + 1];
    assert_eq!(
        fault(&[SNAPPY, (1, &data(&long, &long))]),
        ChunkFault::DecodedTooLong {
            length: SNAPPY_MOST as u64 + 1,
            most: SNAPPY_MOST
        }
    );
}

const SNAPPY_MOST: usize = 64 * 1024;

#[test]
fn every_cut_but_at_a_chunk_boundary_fails() {
    let whole = stream(&[S2, (1, &data(b"abc", b"abc")), (0xfe, b"pad")]);
    for length in 0..whole.len() {
        let boundary = [0, 10, 21].contains(&length);
        assert_eq!(
            decode(&block(&whole[..length])).is_ok(),
            boundary,
            "{length}"
        );
    }
}

#[test]
fn iteration_goes_on_behind_a_faulty_chunk() {
    let whole = stream(&[
        S2,
        (1, &data(b"xxx", b"abc")),
        (0, &data(b"", &[9, 1 << 2, b'd', b'e', 1, 9])),
        (2, b"?"),
        (1, &data(b"fgh", b"fgh")),
        (1, b"cut"),
    ]);
    let mut chunks = Chunks::new(&whole[..whole.len() - 1]);
    let mut out = Vec::new();
    let mut seen = Vec::new();
    while let Some(chunk) = chunks.next_chunk(&mut out) {
        seen.push((
            chunk.kind,
            chunk.decoded.clone(),
            chunk.fault.is_some(),
            chunk.end_offset(),
        ));
    }
    use ChunkKind::{Compressed, Identifier, Stored, Unknown};
    assert_eq!(
        seen,
        [
            (Identifier, 0..0, false, 10),
            (Stored, 0..3, true, 21),
            (Compressed, 3..5, true, 35),
            (Unknown, 5..5, true, 40),
            (Stored, 5..8, false, 51),
            (Stored, 8..8, true, whole.len() - 1),
        ]
    );
    assert_eq!(out, b"abcdefgh");
    let mut chunks = Chunks::new(&whole);
    chunks.seek(40);
    assert_eq!(
        chunks.next_chunk(&mut out).map(|chunk| chunk.fault),
        Some(None)
    );
}

#[test]
fn a_failure_keeps_what_came_before_the_faulty_chunk() {
    let wrapped = block(&stream(&[
        S2,
        (1, &data(b"abc", b"abc")),
        (1, &data(b"x", b"y")),
    ]));
    let mut out = Vec::new();
    let fault = decompress(&wrapped, &mut out).unwrap_err();
    assert!(matches!(fault, CompressionFault::Chunk { offset: 26, .. }));
    assert_eq!(out, b"abc");
}

#[test]
fn an_original_length_nobody_checks_sizes_nothing() {
    let wrapped = [
        &b"cmp\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..],
        b"TRAILER!",
    ]
    .concat();
    let mut out = Vec::new();
    assert_eq!(decompress(&wrapped, &mut out), Ok(()));
    assert_eq!(out, b"TRAILER!");
    assert!(out.capacity() < 4096);
}

#[test]
fn the_longest_chunk_is_accepted() {
    let decoded = vec![b'a'; 4 << 20];
    // One literal byte, and one copy of the rest from one byte back.
    let rest = decoded.len() - 1 - 4 - 4 - 65536;
    let elements = [
        &[0x80, 0x80, 0x80, 2][..],
        &[0, b'a', 1, 1],
        &[7 << 2 | 1, 0],
        &(rest as u32).to_le_bytes()[..3],
    ];
    let body = data(&decoded, &elements.concat());
    assert_eq!(
        decode(&block(&stream(&[S2, (0, &body)]))).map(|out| out.len()),
        Ok((4 << 20) + 8)
    );
}

#[test]
fn a_plain_block_that_spells_the_mark() {
    use super::super::record::{NewRecord, encode_record};
    let key = HashKey::for_block(b"S", 1);
    let body = vec![0; AMBIGUOUS_BLOCK_MIN_LENGTH - 30];
    let mut plain = Vec::new();
    let message = NewRecord::Message {
        sequence: 1,
        timestamp_ns: 0,
        subject: b"",
        headers: b"",
        body: &body,
    };
    encode_record(&mut plain, &key, &message).unwrap();
    assert!(plain.starts_with(b"cmp\x01"));
    assert!(decode(&plain).is_err());
    assert!(is_plain_after_all(&plain, &key));
    plain[100] ^= 1;
    assert!(!is_plain_after_all(&plain, &key));
}

fn compressible() -> impl Strategy<Value = Vec<u8>> {
    let piece = (proptest::collection::vec(any::<u8>(), 1..40), 1..60_usize);
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| {
        pieces
            .iter()
            .flat_map(|(piece, count)| piece.repeat(*count))
            .collect()
    })
}

proptest! {
    #[test]
    fn round_trips(content in compressible(), trailer: [u8; 8]) {
        let records = [&content[..], &trailer].concat();
        let mut wrapped = Vec::new();
        prop_assert_eq!(compress(&records, &mut wrapped), Ok(()));
        prop_assert!(wrapped.ends_with(&trailer));
        prop_assert_eq!(decode(&wrapped), Ok(records));
    }

    #[test]
    fn agrees_with_another_decoder(content in compressible(), flips in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 0..4)) {
        let mut encoded = minlz::encode(&content);
        for (index, mask) in flips {
            let index = index.index(encoded.len());
            encoded[index] ^= mask;
        }
        if let Ok((length, header)) = minlz::decode_len(&encoded) && length <= 1 << 20 {
            let mut theirs = vec![0; length];
            let verdict = minlz::decode_into(&mut theirs, &encoded).is_ok();
            let mut ours = vec![0; length];
            let outcome = super::decode::decode_elements(&encoded[header..], &mut ours);
            prop_assert_eq!(outcome.is_ok(), verdict);
            if verdict {
                prop_assert_eq!(ours, theirs);
            }
        }
    }

    #[test]
    fn damage_never_panics(content in compressible(), index: prop::sample::Index, mask in 1..=255_u8) {
        let mut wrapped = Vec::new();
        let _ = compress(&[&content[..], b"TRAILER!"].concat(), &mut wrapped);
        let index = index.index(wrapped.len());
        wrapped[index] ^= mask;
        fuzz_one(&wrapped);
    }
}
