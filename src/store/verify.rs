//! A store held against its files.

use super::error::WriterFault;
use super::writer::Writer;
use crate::recovery::judge;
use crate::report::Watch;
use crate::report::stream::StreamReport;
use crate::stream::StreamDir;
use crate::stream::options::Options;

/// What [`Writer::verify`] found.
#[derive(Debug)]
pub struct Verified {
    /// What whoever opens the directory next finds in it: a server, or this library after an end of the process.
    pub report: StreamReport,
    /// In what that differs from what the store holds; `None` where it does not.
    pub difference: Option<String>,
}

impl Verified {
    /// Whether every message can be read, and the files say what the store does.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.difference.is_none()
            && !self.report.loses_messages
            && self.report.unreadable.is_empty()
    }
}

impl Writer {
    /// Reads all files, every record with its checksum, and holds what they say against the store. Nothing is changed, but that
    /// everything is handed over to the operating system first. The writer waits as long; readers go on. Up to `threads` are used
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// [`WriterFault`]. Damage is no error but part of what is found.
    pub fn verify(&mut self, now_ns: i64, threads: usize) -> Result<Verified, WriterFault> {
        self.flush()?;
        let shared = &self.shared;
        let stream = StreamDir {
            account: None,
            name: String::from_utf8_lossy(&shared.name).into_owned(),
            dir: shared.dir.clone(),
        };
        let options = Options {
            expire: false,
            limits: false,
            keys: shared.keys.clone(),
            account: Some(shared.account.clone()),
            block_size: Some(shared.block_size),
            threads: threads.max(1),
            ..Options::new(now_ns)
        };
        let judged = judge(&*shared.fs, &stream, &options, &Watch::none());
        let found = judged.state.map(crate::recovery::Unapplied::into_preview);
        let difference = match &found {
            None => Some("the directory would not open".to_owned()),
            Some(found) => found.difference_but_losses(&shared.live.read().state),
        };
        Ok(Verified {
            report: judged.report,
            difference,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::env::memory::MemoryFileSystem;
    use crate::env::{FileSystem, ReadFiles};
    use crate::store::tests::{DIR, NOW_NS, append, open, options};

    #[test]
    fn a_flipped_bit_in_a_file_is_found_though_readers_have_the_block_in_memory() {
        let (fs, options) = (MemoryFileSystem::new(), options("", 300));
        let (store, mut writer) = open(&fs, &options);
        append(&mut writer, 30);
        assert!(writer.remove(7).unwrap());
        let calls = fs.calls().len();
        let sound = writer.verify(NOW_NS, 2).unwrap();
        assert!(sound.is_sound(), "{:?}", sound.difference);
        assert_eq!(fs.calls().len(), calls, "nothing is changed");
        let path = Path::new(DIR).join("msgs/2.blk");
        let mut bytes = fs.read(&path, 1000).unwrap();
        if let Some(byte) = bytes.get_mut(30) {
            *byte ^= 1;
        }
        fs.write_in_place(&path, &bytes).unwrap();
        let damaged = writer.verify(NOW_NS, 2).unwrap();
        assert!(!damaged.is_sound());
        assert!(damaged.difference.is_some());
        assert_eq!(store.reader().summary().message_count, 29);
    }
}
