//! The ways a server can be told where its store is.

use std::path::{Path, PathBuf};

use crate::server::Server;
use crate::store::Bench;

/// A way to have a server run on a store: the server, and the path the command is given.
pub type Start = fn(&Bench) -> Option<(Server, PathBuf)>;

type Way = (&'static str, Start);

/// All of them.
pub fn all() -> Vec<Way> {
    [told(), disguised(), apart()].concat()
}

/// By the command line, a configuration, the environment.
fn told() -> Vec<Way> {
    vec![
        ("-sd", |bench| {
            let store = bench.store();
            let server = bench.serve(&["-js", "-sd"], &[&store], |_| {});
            Some((server, store))
        }),
        ("-c", |bench| {
            let store = bench.store();
            let text = format!("jetstream {{ store_dir: \"{}\" }}\n", store.display());
            let conf = bench.file("nats.conf", &text);
            Some((bench.serve(&["-c"], &[&conf], |_| {}), store))
        }),
        (
            "-c relative, include, variable, another directory",
            |bench| {
                let store = bench.store();
                let dir = bench.dir();
                std::fs::create_dir(dir.join("parts")).expect("a directory");
                std::fs::write(dir.join("nats.conf"), "include parts/js.conf\n").expect("a file");
                std::fs::write(dir.join("parts/js.conf"), "jetstream { store: $PLACE }\n")
                    .expect("a file");
                let name = store.file_name().expect("a name").to_owned();
                let place = format!("\"../{}\"", name.to_string_lossy());
                let server = bench.serve(&["--config=nats.conf"], &[], |command| {
                    command.current_dir(&dir).env("PLACE", &place);
                });
                Some((server, store))
            },
        ),
        ("relative -sd in another directory", |bench| {
            let store = bench.store();
            let place = Path::new("..").join(store.file_name().expect("a name"));
            let dir = bench.dir();
            let server = bench.serve(&["-js", "--store_dir"], &[&place], |command| {
                command.current_dir(&dir);
            });
            Some((server, store))
        }),
        ("the default directory", |bench| {
            let dir = bench.dir();
            let place = dir.join("nats");
            std::fs::rename(bench.store(), &place).expect("a move");
            let server = bench.serve(&["-js"], &[], |command| {
                command.env("TMPDIR", &dir);
            });
            Some((server, place))
        }),
    ]
}

/// Under another name.
fn disguised() -> Vec<Way> {
    vec![
        ("the server through a link", |bench| {
            let store = bench.store();
            let link = bench.dir().join("link");
            std::os::unix::fs::symlink(&store, &link).expect("a link");
            Some((bench.serve(&["-js", "-sd"], &[&link], |_| {}), store))
        }),
        ("the command through a link", |bench| {
            let store = bench.store();
            let link = bench.dir().join("link");
            std::os::unix::fs::symlink(&store, &link).expect("a link");
            Some((bench.serve(&["-js", "-sd"], &[&store], |_| {}), link))
        }),
        ("a program of another name altogether", |bench| {
            let store = bench.store();
            let program = bench.dir().join("bus");
            std::fs::copy(&bench.server, &program).expect("a copy");
            let server = bench.serve_by(&program, &["-js", "-sd"], &[&store], |_| {});
            Some((server, store))
        }),
        (
            "a program of another name that is gone from the disk",
            |bench| {
                let store = bench.store();
                let program = bench.dir().join("my-nats-server");
                std::fs::copy(&bench.server, &program).expect("a copy");
                let server = bench.serve_by(&program, &["-js", "-sd"], &[&store], |_| {});
                std::fs::remove_file(&program).expect("a removal");
                Some((server, store))
            },
        ),
    ]
}

/// In namespaces of their own.
fn apart() -> Vec<Way> {
    vec![
        ("another mount namespace", |bench| {
            let store = bench.store();
            let inner = bench.dir();
            let mounts = format!("mount --bind '{}' '{}'", store.display(), inner.display());
            let server =
                bench.serve_apart(&mounts, &quoted(&bench.server), &["-js", "-sd"], &[&inner])?;
            Some((server, store))
        }),
        (
            "another root directory, with a configuration in it",
            |bench| {
                let store = bench.store();
                let root = bench.dir();
                for dir in ["data", "etc", "tmp", "lib", "lib64", "usr"] {
                    std::fs::create_dir(root.join(dir)).expect("a directory");
                }
                std::fs::write(root.join("etc/nats.conf"), "jetstream { store_dir: /data }")
                    .expect("a file");
                std::fs::copy(&bench.server, root.join("nats-server")).expect("a copy");
                let root = quoted(&root);
                let mounts = format!(
                    "for lib in lib lib64 usr; do [ ! -e /$lib ] || mount --rbind /$lib {root}/$lib; done; \
                 mount --bind {} {root}/data && mount --bind {} {root}/tmp",
                    quoted(&store),
                    quoted(&bench.ports()),
                );
                let run = format!("chroot {root} /nats-server");
                let server = bench.serve_apart(&mounts, &run, &["-c", "/etc/nats.conf"], &[])?;
                Some((server, store))
            },
        ),
        ("the upper directory of a container's overlay", |bench| {
            let store = bench.store();
            let (lower, work, inner) = (bench.dir(), bench.dir(), bench.dir());
            let mounts = format!(
                "mount -t overlay overlay -o lowerdir={},upperdir={},workdir={} {}",
                lower.display(),
                store.display(),
                work.display(),
                quoted(&inner),
            );
            let server =
                bench.serve_apart(&mounts, &quoted(&bench.server), &["-js", "-sd"], &[&inner])?;
            Some((server, store))
        }),
    ]
}

/// A path for the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}
