//! Public keys as operators and accounts are named by: a prefix, 32 bytes and a checksum, in base32.

/// Characters of a key.
const LENGTH: usize = 56;
/// Bytes of a key: the prefix, the key itself, the checksum.
const BYTES: usize = 35;

/// Whose key it is; the value is the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// An account: the key begins with A.
    Account = 0,
    /// An operator: the key begins with O.
    Operator = 14 << 3,
}

/// Whether a text is the public key of such an owner. A server that takes its accounts from tokens asks for no account
/// under another name.
#[must_use]
pub fn is_key_of(owner: Owner, text: &str) -> bool {
    decode(text).is_some_and(|bytes| {
        let (payload, sum) = bytes.split_at(BYTES - 2);
        bytes[0] == owner as u8 && crc16(payload).to_le_bytes() == sum
    })
}

fn decode(text: &str) -> Option<[u8; BYTES]> {
    if text.len() != LENGTH {
        return None;
    }
    let mut bytes = [0; BYTES];
    let (groups, _) = text.as_bytes().as_chunks::<8>();
    for (group, out) in groups.iter().zip(bytes.chunks_mut(5)) {
        let mut bits = 0_u64;
        for letter in group {
            let digit = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'2'..=b'7' => letter - b'2' + 26,
                _ => return None,
            };
            bits = bits << 5 | u64::from(digit);
        }
        out.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(bytes)
}

/// CRC-16 with the polynomial 0x1021, from 0, unreflected.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |mut crc, byte| {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    const ACCOUNT: &str = "ACFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYYOU";

    #[test]
    fn keys_of_accounts_and_operators() {
        assert!(is_key_of(Owner::Account, ACCOUNT));
        assert!(!is_key_of(Owner::Operator, ACCOUNT));
        let operator = "OCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYOCS";
        assert!(is_key_of(Owner::Operator, operator));
        assert!(!is_key_of(Owner::Account, operator));
        for wrong in [
            "",
            "$G",
            &ACCOUNT[..55],
            &ACCOUNT.to_lowercase(),
            &format!("{ACCOUNT}A"),
        ] {
            assert!(!is_key_of(Owner::Account, wrong), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in any::<String>()) {
            prop_assert!(!is_key_of(Owner::Account, &text));
        }

        #[test]
        fn another_letter_makes_another_key(at in 1_usize..56, letter in "[A-Z2-7]") {
            let other = format!("{}{letter}{}", &ACCOUNT[..at], &ACCOUNT[at + 1..]);
            prop_assert_eq!(is_key_of(Owner::Account, &other), other == ACCOUNT);
        }
    }
}
