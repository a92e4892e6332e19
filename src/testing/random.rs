//! A small generator of numbers: what a seed stands for must not change when a dependency does.

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The numbers of a seed and what sets this use of it apart from others.
    #[must_use]
    pub fn derived(seed: u64, parts: &[u64]) -> Self {
        Self(derive(seed, parts))
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `limit`; 0 for a limit of 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.draw() % limit }
    }

    /// An index below `length`; 0 for a length of 0.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True `percent` times of a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `items`, if there are any.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.index(items.len()))
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.draw().to_le_bytes();
            for (byte, random) in chunk.iter_mut().zip(drawn) {
                *byte = random;
            }
        }
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes
    }
}

/// A seed for one use of a seed.
#[must_use]
pub fn derive(seed: u64, parts: &[u64]) -> u64 {
    let step = |state: u64, part: &u64| {
        mix(state
            .wrapping_add(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29)
            .wrapping_add(*part))
    };
    parts.iter().fold(mix(seed), step)
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_for_ever() {
        let mut random = Random::new(1);
        let drawn = [random.draw(), random.draw()];
        assert_eq!(drawn, [0x910A_2DEC_8902_5CC1, 0xBEEB_8DA1_658E_EC67]);
    }

    #[test]
    fn uses_of_a_seed_are_apart() {
        let seeds = [
            derive(1, &[]),
            derive(1, &[0]),
            derive(1, &[0, 0]),
            derive(1, &[0, 1]),
            derive(1, &[1, 0]),
            derive(2, &[1, 0]),
        ];
        for (i, seed) in seeds.iter().enumerate() {
            assert!(!seeds[..i].contains(seed), "{i}");
        }
    }

    #[test]
    fn limits_hold() {
        let mut random = Random::new(7);
        assert_eq!((random.below(0), random.index(0)), (0, 0));
        assert!((0..1000).all(|_| random.below(3) < 3));
        assert_eq!(random.pick::<u8>(&[]), None);
        assert_eq!(random.bytes(13).len(), 13);
    }
}
