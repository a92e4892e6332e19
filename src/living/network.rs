//! Whether a store lies on a file system that other machines can have mounted as well.

use std::path::Path;

use crate::env::{FileSystem, path_from_bytes};

const MAX_LENGTH: u64 = 16 << 20;

const NETWORK: &[&str] = &[
    "9p",
    "acfs",
    "afs",
    "afp",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "fhgfs",
    "gfs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "prl_fs",
    "pvfs2",
    "smb2",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
    "vmhgfs",
    "wekafs",
];

/// File systems in user space that are known to be of this machine.
const LOCAL_FUSE: &[&str] = &[
    "fuse.bindfs",
    "fuse.cryfs",
    "fuse.encfs",
    "fuse.fuse-overlayfs",
    "fuse.gocryptfs",
    "fuse.lxcfs",
    "fuse.mergerfs",
    "fuse.ntfs-3g",
    "fuse.securefs",
    "fuse.unionfs",
];

/// The type of the file system `path`, which has no links, lies on, where that is one of the network.
pub(super) fn network_type(fs: &dyn FileSystem, proc: &Path, path: &Path) -> Option<String> {
    let mounts = fs.read(&proc.join("self/mountinfo"), MAX_LENGTH).ok()?;
    type_of(&mounts, path).filter(|kind| is_network(kind))
}

fn is_network(kind: &str) -> bool {
    NETWORK.contains(&kind)
        || kind == "fuse"
        || (kind.starts_with("fuse.") && !LOCAL_FUSE.contains(&kind))
}

/// The type of the mount a path lies on: the innermost, and of several at one place the last.
fn type_of(mounts: &[u8], path: &Path) -> Option<String> {
    mounts
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ');
            let point = path_from_bytes(unescaped(fields.nth(4)?));
            let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
            path.starts_with(&point).then(|| {
                let depth = point.components().count();
                (depth, String::from_utf8_lossy(kind).into_owned())
            })
        })
        .max_by_key(|(depth, _)| *depth)
        .map(|(_, kind)| kind)
}

/// Undoes the octal escapes of blanks, line breaks and backslashes.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let digits = behind.get(..3).filter(|_| byte == b'\\');
        let value = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match value {
            Some(value) => {
                plain.push(value);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => plain.push(byte),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_decides() {
        let mounts = b"22 1 259:1 / / rw shared:1 - ext4 /dev/root rw\n\
            30 22 0:40 / /mnt/my\\040data rw - nfs4 server:/export rw\n\
            31 22 0:41 / /mnt rw master:2 - tmpfs tmpfs rw\n\
            32 30 8:1 / /mnt/my\\040data/disk rw - xfs /dev/sdb rw\n\
            33 22 0:42 / /over rw - ext4 a rw\n\
            34 33 0:43 / /over rw - fuse.sshfs b rw\nnonsense\n\n- -";
        let of = |path: &str| type_of(mounts, Path::new(path)).unwrap();
        assert_eq!(of("/mnt/my data/jetstream"), "nfs4");
        assert_eq!(of("/mnt/my database"), "tmpfs");
        assert_eq!(of("/mnt/my data/disk/x"), "xfs");
        assert_eq!(of("/over/x"), "fuse.sshfs");
        assert_eq!(of("/var"), "ext4");
        for (kind, network) in [
            ("nfs4", true),
            ("cifs", true),
            ("fuse.sshfs", true),
            ("fuse.glusterfs", true),
            ("ceph", true),
            ("ext4", false),
            ("overlay", false),
            ("fuseblk", false),
            ("fuse.gocryptfs", false),
        ] {
            assert_eq!(is_network(kind), network, "{kind}");
        }
    }
}
