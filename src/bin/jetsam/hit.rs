//! The names of what was hit, for people and for JSON.

use jetsam::salvage::hit::{Hit, Struck};

use crate::page::Page;
use crate::units;

/// More than this are counted.
const LISTED_MAX: usize = 20;

/// Lines of names; nothing where there are none.
pub fn tell(text: &mut String, hits: &[Hit], page: &Page) {
    if hits.is_empty() {
        return;
    }
    page.paragraph(text, 2, "hit:");
    for hit in hits.iter().take(LISTED_MAX) {
        page.hanging(text, 6, 8, &line(hit));
    }
    if let Some(rest) = hits.len().checked_sub(LISTED_MAX).filter(|rest| *rest > 0) {
        let rest = units::count(rest as u64);
        page.paragraph(text, 6, &format!("and {rest} more; --json lists them"));
    }
}

/// `big.bin: 33 of 240 chunks`.
fn line(hit: &Hit) -> String {
    let (lost, of) = (units::count(hit.lost), units::count(hit.of));
    match &hit.struck {
        Struck::Object(name) if hit.of == 1 => {
            format!(
                "{}: 1 of 1, its description or only chunk",
                units::printable(name)
            )
        }
        Struck::Object(name) => format!("{}: {lost} of {of} chunks", units::printable(name)),
        Struck::Chunks(number) => {
            format!(
                "a file whose name is lost ({}): {lost} of {of} chunks",
                name(number)
            )
        }
        Struck::Key(key) => format!("key {}: {lost} of {of} values", name(key)),
        Struck::Subject(subject) => format!("{}: {lost} of {of} messages", name(subject)),
    }
}

fn name(bytes: &[u8]) -> String {
    units::printable(&units::text(bytes))
}

/// One of them in JSON.
#[derive(serde::Serialize)]
pub struct HitJson {
    kind: &'static str,
    name: String,
    lost: u64,
    of: u64,
}

/// As JSON.
pub fn json(hit: &Hit) -> HitJson {
    let (kind, name) = match &hit.struck {
        Struck::Subject(subject) => ("subject", units::text(subject)),
        Struck::Key(key) => ("key", units::text(key)),
        Struck::Object(name) => ("object", name.clone()),
        Struck::Chunks(number) => ("chunks", units::text(number)),
    };
    HitJson {
        kind,
        name,
        lost: hit.lost,
        of: hit.of,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::plain;

    #[test]
    fn files_keys_and_subjects_are_told_apart() {
        let hit = |struck, lost, of| Hit { struck, lost, of };
        let hits = [
            hit(Struck::Object("big.bin".into()), 33, 240),
            hit(Struck::Key(b"color".to_vec()), 1, 1),
            hit(Struck::Subject(b"orders.\xff".to_vec()), 1_000, 2_000),
        ];
        let mut text = String::new();
        tell(&mut text, &hits, &plain(80));
        let want = "  hit:\n      big.bin: 33 of 240 chunks\n      key color: 1 of 1 values\n      orders.\\xff: 1,000 of 2,000 messages\n";
        assert_eq!(text, want);
    }

    #[test]
    fn more_than_twenty_are_counted() {
        let hit = Hit {
            struck: Struck::Key(b"k".to_vec()),
            lost: 1,
            of: 1,
        };
        let mut text = String::new();
        tell(&mut text, &vec![hit; 25], &plain(80));
        assert!(text.ends_with("and 5 more; --json lists them\n"), "{text}");
    }
}
