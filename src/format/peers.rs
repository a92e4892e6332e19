//! The peers of a raft group, `peers.idx`, and what a server is called in it.

use super::names::hash8;

/// Bytes of a peer's id.
const ID_LENGTH: usize = 8;

/// What `peers.idx` says. It has no checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peers {
    /// How many servers the cluster is meant to have.
    pub cluster_size: u32,
    /// Those known so far: fewer while a cluster is being founded.
    pub ids: Vec<[u8; ID_LENGTH]>,
}

impl Peers {
    /// Reads it; `None` where it ends before the last id it announces. What comes behind is not looked at.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (cluster_size, rest) = number(bytes)?;
        let (count, rest) = number(rest)?;
        let length = usize::try_from(count).ok()?.checked_mul(ID_LENGTH)?;
        let ids = rest.get(..length)?.as_chunks::<ID_LENGTH>().0.to_vec();
        Some(Peers { cluster_size, ids })
    }

    /// Whether the server called `name` is one of them.
    #[must_use]
    pub fn include(&self, name: &str) -> bool {
        let id = peer_id(name);
        self.ids.iter().any(|known| known == id.as_bytes())
    }

    /// Whether every server of the cluster is known.
    #[must_use]
    pub fn are_all_known(&self) -> bool {
        usize::try_from(self.cluster_size).is_ok_and(|size| self.ids.len() >= size)
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}

/// The id of the server called `name`.
#[must_use]
pub fn peer_id(name: &str) -> String {
    hash8(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(text: &str) -> Vec<u8> {
        let digits: Vec<char> = text.chars().collect();
        let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
        digits
            .chunks(2)
            .map(|pair| byte(pair).expect("hex"))
            .collect()
    }

    #[test]
    fn the_peers_of_three_servers() {
        let file = bytes("0300000003000000666a4679456a633134346a7a6b56394442585363725939690000");
        let peers = Peers::decode(&file).expect("peers");
        assert_eq!(peers.cluster_size, 3);
        assert!(peers.are_all_known() && ["n1", "n2", "n3"].iter().all(|name| peers.include(name)));
        assert!(!peers.include("n4"));
        assert_eq!(peer_id("n1"), "fjFyEjc1");
    }

    #[test]
    fn a_cluster_being_founded_knows_not_all() {
        let file = [3_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat();
        assert_eq!(Peers::decode(&file), None);
        let file = [file.as_slice(), b"fjFyEjc1"].concat();
        assert!(!Peers::decode(&file).expect("peers").are_all_known());
    }

    proptest! {
        #[test]
        fn any_bytes_will_do(bytes: Vec<u8>) {
            if let Some(peers) = Peers::decode(&bytes) {
                prop_assert!(peers.ids.len() * ID_LENGTH + 8 <= bytes.len());
            }
        }
    }
}
