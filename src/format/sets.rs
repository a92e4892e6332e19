//! What one set of sequences has to do with another. The cost is that of the spans, never of their width.

use std::ops::RangeInclusive;

use super::seqset::SeqSet;

/// The sequences of `left` that are not in `right`.
#[must_use]
pub fn difference(left: &SeqSet, right: &SeqSet) -> SeqSet {
    if left.is_empty() || right.is_empty() {
        return left.clone();
    }
    let mut rest = left.clone();
    remove_all(&mut rest, right);
    rest
}

/// Takes the sequences of `right` out of `left`.
pub fn remove_all(left: &mut SeqSet, right: &SeqSet) {
    let (Some(first), Some(last)) = (left.first(), left.last()) else {
        return;
    };
    for span in right.spans_in(first..=last) {
        left.remove_range(span);
    }
}

/// The sequences in both.
#[must_use]
pub fn intersection(left: &SeqSet, right: &SeqSet) -> SeqSet {
    let mut both = SeqSet::new();
    let (Some(low), Some(high)) = (
        left.first().max(right.first()),
        left.last().zip(right.last()).map(|(a, b)| a.min(b)),
    ) else {
        return both;
    };
    let (mut lefts, mut rights) = (left.spans_in(low..=high), right.spans_in(low..=high));
    let (mut a, mut b) = (lefts.next(), rights.next());
    while let (Some(x), Some(y)) = (&a, &b) {
        both.insert_range((*x.start()).max(*y.start())..=(*x.end()).min(*y.end()));
        if x.end() < y.end() {
            a = lefts.next();
        } else {
            b = rights.next();
        }
    }
    both
}

/// The sequences of `set` inside the range.
#[must_use]
pub fn within(set: &SeqSet, range: RangeInclusive<u64>) -> SeqSet {
    let mut inside = SeqSet::new();
    set.spans_in(range)
        .for_each(|span| inside.insert_range(span));
    inside
}

/// The sequences of the range that are not in `set`.
#[must_use]
pub fn missing_in(range: RangeInclusive<u64>, set: &SeqSet) -> SeqSet {
    let mut all = SeqSet::new();
    all.insert_range(range);
    remove_all(&mut all, set);
    all
}

/// The spans as pairs of first and last.
#[must_use]
pub fn ranges(set: &SeqSet) -> Vec<(u64, u64)> {
    set.spans()
        .map(|span| (*span.start(), *span.end()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_set;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(of: &BTreeSet<u64>) -> SeqSet {
        of.iter().copied().collect()
    }

    proptest! {
        #[test]
        fn sets_combine_as_sets_do(
            a in btree_set(0_u64..5000, 0..300),
            b in btree_set(0_u64..5000, 0..300),
            from in 0_u64..5000,
            wide in 0_u64..5000,
        ) {
            let minus: BTreeSet<u64> = a.difference(&b).copied().collect();
            prop_assert_eq!(difference(&set(&a), &set(&b)), set(&minus));
            let both: BTreeSet<u64> = a.intersection(&b).copied().collect();
            prop_assert_eq!(intersection(&set(&a), &set(&b)), set(&both));
            let range = from..=from + wide;
            let inside: BTreeSet<u64> = a.iter().copied().filter(|seq| range.contains(seq)).collect();
            prop_assert_eq!(within(&set(&a), range.clone()), set(&inside));
            let gone: BTreeSet<u64> = range.clone().filter(|seq| !a.contains(seq)).collect();
            prop_assert_eq!(missing_in(range, &set(&a)), set(&gone));
        }
    }
}
