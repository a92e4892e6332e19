//! What a store lies on: a file system that other machines can have mounted as well, or the layers of a container.

use std::path::{Path, PathBuf};

use crate::env::{ReadFiles, path_from_bytes};

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
pub(super) fn network_type(fs: &dyn ReadFiles, proc: &Path, path: &Path) -> Option<String> {
    let mounts = fs.read(&proc.join("self/mountinfo"), MAX_LENGTH).ok()?;
    Mount::innermost(&mounts, path)
        .map(|mount| mount.kind)
        .filter(|kind| is_network(kind))
}

fn is_network(kind: &str) -> bool {
    NETWORK.contains(&kind)
        || kind == "fuse"
        || (kind.starts_with("fuse.") && !LOCAL_FUSE.contains(&kind))
}

/// A mount, as a line of `mountinfo` (proc(5)) tells it.
struct Mount {
    point: PathBuf,
    kind: String,
    options: Vec<u8>,
}

impl Mount {
    fn read(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let point = path_from_bytes(unescaped(fields.nth(4)?));
        let mut behind = fields.skip_while(|field| *field != b"-");
        Some(Self {
            point,
            kind: String::from_utf8_lossy(behind.nth(1)?).into_owned(),
            options: behind.nth(1).unwrap_or_default().to_vec(),
        })
    }

    /// The mount a path lies on: the innermost, and of several at one place the last.
    fn innermost(mounts: &[u8], path: &Path) -> Option<Self> {
        mounts
            .split(|byte| *byte == b'\n')
            .filter_map(Self::read)
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())
    }
}

/// Where the files of a container lie that it did not get from its image: the directory behind `path`, which has no links,
/// on an overlay. It has another device and inode than the one the container sees.
pub(super) fn behind_overlay(mounts: &[u8], path: &Path) -> Option<PathBuf> {
    let mount = Mount::innermost(mounts, path).filter(|mount| mount.kind == "overlay")?;
    let upper = mount
        .options
        .split(|byte| *byte == b',')
        .find_map(|option| option.strip_prefix(b"upperdir="))?;
    let inside = path.strip_prefix(&mount.point).ok()?;
    Some(path_from_bytes(unescaped(upper)).join(inside))
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
    fn a_container_writes_behind_its_overlay() {
        let mounts = b"1 0 0:9 / / rw - overlay overlay rw,lowerdir=/l/1:/l/2,upperdir=/docker/a\\040b/diff,workdir=/w\n\
            2 1 8:1 / /vol rw - ext4 /dev/sda rw";
        let behind = |path: &str| behind_overlay(mounts, Path::new(path));
        assert_eq!(behind("/data/x"), Some("/docker/a b/diff/data/x".into()));
        assert_eq!(behind("/vol/x"), None);
        assert_eq!(
            behind_overlay(
                b"1 0 0:9 / / ro - overlay overlay ro,lowerdir=/l",
                Path::new("/x")
            ),
            None
        );
    }

    #[test]
    fn the_innermost_mount_decides() {
        let mounts = b"22 1 259:1 / / rw shared:1 - ext4 /dev/root rw\n\
            30 22 0:40 / /mnt/my\\040data rw - nfs4 server:/export rw\n\
            31 22 0:41 / /mnt rw master:2 - tmpfs tmpfs rw\n\
            32 30 8:1 / /mnt/my\\040data/disk rw - xfs /dev/sdb rw\n\
            33 22 0:42 / /over rw - ext4 a rw\n\
            34 33 0:43 / /over rw - fuse.sshfs b rw\nnonsense\n\n- -";
        let of = |path: &str| Mount::innermost(mounts, Path::new(path)).unwrap().kind;
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
