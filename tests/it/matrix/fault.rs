//! What failed writes leave behind.

use super::{both, each};

#[test]
fn r248_left_over_of_an_erase() {
    both("R248", "", (3, 1, 3), |case, _| {
        assert!(case.list("msgs").contains(&"1.blk.tmp".to_owned()));
        assert_eq!(case.messages().len(), 3);
    });
    each("R248", "noidx", |_, report| {
        assert!(report.unreadable.is_empty())
    });
}
