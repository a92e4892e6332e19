use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn encoded(set: &SeqSet) -> Vec<u8> {
    let mut out = Vec::new();
    set.encode(&mut out, u64::MAX).unwrap();
    out
}

fn header(version: u8, nodes: u32, count: u32) -> Vec<u8> {
    let mut out = vec![22, version];
    out.extend(nodes.to_le_bytes());
    out.extend(count.to_le_bytes());
    out
}

/// One node with the given words set and the rest zero.
fn node(base: u64, word_count: usize, set: &[(usize, u64)], height: u16) -> Vec<u8> {
    let mut words = vec![0_u64; word_count];
    for (index, word) in set {
        words[*index] = *word;
    }
    let mut out = base.to_le_bytes().to_vec();
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    out.extend(height.to_le_bytes());
    out
}

/// (base, height) of every node in file order.
fn shape(bytes: &[u8]) -> Vec<(u64, u16)> {
    bytes[10..]
        .chunks(266)
        .map(|node| {
            let base = u64::from_le_bytes(node[..8].try_into().unwrap());
            (base, u16::from_le_bytes(node[264..].try_into().unwrap()))
        })
        .collect()
}

#[test]
fn two_and_four_encode_as_the_vector_says() {
    let set: SeqSet = [2, 4].into_iter().collect();
    let mut expected = header(2, 1, 2);
    expected.extend(node(0, 32, &[(0, 0x14)], 1));
    assert_eq!(encoded(&set), expected);
    assert_eq!(set.encoded_length(), 276);
    let decoded = SeqSet::decode(&expected).unwrap();
    assert_eq!(
        (decoded.set, decoded.declared_count, decoded.length),
        (set, 2, 276)
    );
}

#[test]
fn fifteen_nodes_have_the_shape_the_server_gives_them() {
    let set: SeqSet = (2..30_000).step_by(3).collect();
    let bytes = encoded(&set);
    let expected = [
        (14336, 4),
        (6144, 3),
        (2048, 2),
        (0, 1),
        (4096, 1),
        (10240, 2),
        (8192, 1),
        (12288, 1),
        (22528, 3),
        (18432, 2),
        (16384, 1),
        (20480, 1),
        (26624, 2),
        (24576, 1),
        (28672, 1),
    ];
    assert_eq!(shape(&bytes), expected);
    assert_eq!(SeqSet::decode(&bytes).unwrap().set, set);
}

/// Checks a pre-order tree: order of bases, true heights, siblings that differ by at most one. Returns the height.
fn check_tree(nodes: &mut std::slice::Iter<'_, (u64, u16)>, below: u64) -> u16 {
    let Some(&(base, height)) = nodes.clone().next().filter(|(base, _)| *base < below) else {
        return 0;
    };
    nodes.next();
    let left = check_tree(nodes, base);
    let right = check_tree(nodes, below);
    assert_eq!(height, 1 + left.max(right));
    assert!(left.abs_diff(right) <= 1);
    height
}

#[test]
fn trees_of_every_size_are_balanced() {
    for count in 1..200_u64 {
        let set: SeqSet = (0..count).map(|page| page * 2048 + 7).collect();
        let nodes = shape(&encoded(&set));
        let mut rest = nodes.iter();
        check_tree(&mut rest, u64::MAX);
        assert_eq!(rest.len(), 0, "every node is reached in a tree of {count}");
    }
}

#[test]
fn unaligned_and_overlapping_nodes_are_united() {
    // Base 100: bit 0 of word 0 is 100; bit 63 of word 31 is 2147, on the next page.
    let mut bytes = header(2, 2, 9);
    bytes.extend(node(100, 32, &[(0, 1), (31, 1 << 63)], 2));
    bytes.extend(node(0, 32, &[(1, 1 << 36), (2, 1)], 1));
    let decoded = SeqSet::decode(&bytes).unwrap();
    assert_eq!(decoded.set.iter().collect::<Vec<_>>(), [100, 128, 2147]);
    assert_eq!(
        decoded.declared_count, 9,
        "a wrong element count is kept, not refused"
    );
}

#[test]
fn a_node_at_the_top_wraps_around() {
    let mut bytes = header(2, 1, 2);
    bytes.extend(node(u64::MAX, 32, &[(0, 0b11)], 1));
    let set = SeqSet::decode(&bytes).unwrap().set;
    assert_eq!(set.iter().collect::<Vec<_>>(), [0, u64::MAX]);
}

#[test]
fn version_1_nodes_are_twice_as_wide_and_counted() {
    let mut bytes = header(1, 1, 3);
    bytes.extend(node(4096, 64, &[(0, 1), (32, 1), (63, 1 << 63)], 0));
    bytes.push(0xee);
    let decoded = SeqSet::decode(&bytes).unwrap();
    assert_eq!(decoded.set.iter().collect::<Vec<_>>(), [4096, 6144, 8191]);
    assert_eq!(decoded.length, bytes.len() - 1);
    bytes[6] = 4;
    assert_eq!(
        SeqSet::decode(&bytes),
        Err(DecodeError::CountMismatch {
            declared: 4,
            found: 3
        })
    );
}

#[test]
fn bad_headers_are_told_apart() {
    assert_eq!(
        SeqSet::decode(&[23; 9]),
        Err(DecodeError::Short { length: 9 })
    );
    let mut bytes = header(2, 0, 0);
    assert!(SeqSet::decode(&bytes).unwrap().set.is_empty());
    bytes[0] = 23;
    assert_eq!(
        SeqSet::decode(&bytes),
        Err(DecodeError::BadMagic { found: 23 })
    );
    assert_eq!(
        SeqSet::decode(&header(3, 0, 0)),
        Err(DecodeError::BadVersion { found: 3 })
    );
    let mut cut = header(2, u32::MAX, 0);
    cut.extend([0; 266 + 265]);
    assert_eq!(
        SeqSet::decode(&cut),
        Err(DecodeError::NodesMissing {
            node_count: u32::MAX,
            available: 1
        })
    );
}

#[test]
fn huge_spans_cost_one_run() {
    let mut set = SeqSet::new();
    set.insert_range(5..=u64::MAX - 5);
    assert_eq!((set.partial.len(), set.full.len()), (2, 1));
    assert_eq!(set.len(), u64::MAX - 9);
    assert!(set.remove(1 << 40));
    assert!(!set.contains(1 << 40) && set.contains((1 << 40) + 1));
    assert_eq!(set.span_end(5), Some((1 << 40) - 1));
    assert_eq!(set.span_end((1 << 40) + 1), Some(u64::MAX - 5));
    assert_eq!(set.count_in(0..=1 << 41), (1 << 41) - 5);
    set.remove_below(u64::MAX - 9);
    assert_eq!(set.iter().collect::<Vec<_>>().len(), 5);
    assert_eq!(
        set.spans().collect::<Vec<_>>(),
        [u64::MAX - 9..=u64::MAX - 5]
    );
    set.insert_range(0..=u64::MAX);
    assert_eq!(
        (set.len(), set.first(), set.last()),
        (u64::MAX, Some(0), Some(u64::MAX))
    );
    assert_eq!(set.span_end(3), Some(u64::MAX));
    assert_eq!(set.spans().collect::<Vec<_>>(), [0..=u64::MAX]);
    set.remove_range(0..=u64::MAX);
    assert_eq!(set, SeqSet::new());
}

#[test]
fn encoding_is_refused_beyond_the_limit() {
    let mut set = SeqSet::new();
    set.insert_range(1..=1_000_000_000_000);
    let length = set.encoded_length();
    assert_eq!(length, 10 + 266 * 488_281_251);
    let mut out = Vec::new();
    assert_eq!(
        set.encode(&mut out, 1 << 20),
        Err(EncodeError::TooLong {
            length,
            limit: 1 << 20
        })
    );
    assert_eq!(
        set.encode(&mut out, u64::MAX),
        Err(EncodeError::TooMany {
            count: 1_000_000_000_000
        })
    );
    assert!(out.is_empty());
}

#[test]
fn a_page_filled_one_by_one_equals_a_filled_range() {
    let one_by_one: SeqSet = (2048..6144).rev().collect();
    let mut range = SeqSet::new();
    range.insert_range(2048..=6143);
    assert_eq!(one_by_one, range);
    assert_eq!(one_by_one.full.len(), 1);
    assert_eq!(SeqSet::decode(&encoded(&range)).unwrap().set, range);
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u64),
    Remove(u64),
    InsertRange(u64, u64),
    RemoveRange(u64, u64),
    RemoveBelow(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sequence = 0_u64..20_000;
    let length = prop_oneof![0_u64..100, 2000_u64..7000];
    vec(
        prop_oneof![
            4 => sequence.clone().prop_map(Step::Insert),
            3 => sequence.clone().prop_map(Step::Remove),
            4 => (sequence.clone(), length.clone()).prop_map(|(a, n)| Step::InsertRange(a, a + n)),
            3 => (sequence.clone(), length).prop_map(|(a, n)| Step::RemoveRange(a, a + n)),
            1 => sequence.prop_map(Step::RemoveBelow),
        ],
        0..24,
    )
}

fn run(steps: &[Step]) -> (SeqSet, BTreeSet<u64>) {
    let mut set = SeqSet::new();
    let mut model = BTreeSet::new();
    for step in steps {
        match *step {
            Step::Insert(a) => assert_eq!(set.insert(a), model.insert(a)),
            Step::Remove(a) => assert_eq!(set.remove(a), model.remove(&a)),
            Step::InsertRange(a, b) => {
                set.insert_range(a..=b);
                model.extend(a..=b);
            }
            Step::RemoveRange(a, b) => {
                set.remove_range(a..=b);
                model.retain(|sequence| *sequence < a || *sequence > b);
            }
            Step::RemoveBelow(a) => {
                set.remove_below(a);
                model = model.split_off(&a);
            }
        }
    }
    (set, model)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn behaves_as_a_plain_set(steps in steps(), probe in 0_u64..27_000, width in 0_u64..5000) {
        let (set, model) = run(&steps);
        prop_assert_eq!(set.len(), model.len() as u64);
        prop_assert_eq!(set.is_empty(), model.is_empty());
        prop_assert!(set.iter().eq(model.iter().copied()));
        prop_assert_eq!((set.first(), set.last()), (model.first().copied(), model.last().copied()));
        prop_assert_eq!(set.contains(probe), model.contains(&probe));
        prop_assert_eq!(
            set.count_in(probe..=probe + width),
            model.range(probe..=probe + width).count() as u64
        );
        let end = (probe..).find(|at| !model.contains(at)).filter(|end| *end > probe);
        prop_assert_eq!(set.span_end(probe), end.map(|end| end - 1));
        let spans: Vec<_> = set.spans().collect();
        prop_assert!(spans.windows(2).all(|pair| pair[0].end() + 1 < *pair[1].start()));
        prop_assert_eq!(model.into_iter().collect::<SeqSet>(), set);
    }

    #[test]
    fn union_is_the_union(left in steps(), right in steps()) {
        let ((mut set, mut model), (other, other_model)) = (run(&left), run(&right));
        set.union_with(&other);
        model.extend(other_model);
        prop_assert_eq!(set, model.into_iter().collect::<SeqSet>());
    }

    #[test]
    fn round_trips(steps in steps(), shift in any::<u64>()) {
        let set: SeqSet = run(&steps).0.iter().map(|sequence| sequence.wrapping_add(shift)).collect();
        let bytes = encoded(&set);
        prop_assert_eq!(bytes.len() as u64, set.encoded_length());
        let decoded = SeqSet::decode(&bytes).unwrap();
        prop_assert_eq!(u64::from(decoded.declared_count), set.len());
        prop_assert_eq!(decoded.length, bytes.len());
        prop_assert_eq!(decoded.set, set);
    }

    #[test]
    fn arbitrary_nodes_are_a_union_of_bits(
        nodes in vec((any::<u64>(), vec((0_usize..32, any::<u64>()), 0..4)), 0..6)
    ) {
        let mut bytes = header(2, nodes.len() as u32, 0);
        let mut model = BTreeSet::new();
        for (base, set) in &nodes {
            let mut words = [0_u64; 32];
            for (index, word) in set {
                words[*index] = *word;
            }
            let pairs: Vec<_> = words.into_iter().enumerate().collect();
            bytes.extend(node(*base, 32, &pairs, 1));
            for (index, word) in pairs {
                for bit in (0..64).filter(|bit| word >> bit & 1 == 1) {
                    model.insert(base.wrapping_add(64 * index as u64 + bit));
                }
            }
        }
        let set = SeqSet::decode(&bytes).unwrap().set;
        prop_assert!(set.iter().eq(model.into_iter()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(version in 0_u8..4, tail in vec(any::<u8>(), 0..1200)) {
        let bytes: Vec<u8> = [22, version].into_iter().chain(tail.iter().copied()).collect();
        let _ = SeqSet::decode(&tail);
        if let Ok(decoded) = SeqSet::decode(&bytes) {
            prop_assert!(decoded.length <= bytes.len());
            prop_assert!(decoded.set.len() <= 8 * bytes.len() as u64);
        }
    }
}
