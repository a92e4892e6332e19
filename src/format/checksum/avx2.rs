//! The HighwayHash-64 update in AVX2, several independent hashes side by side.
//!
//! One hash alone waits for its own multiplications most of the time; interleaving hides that wait. There are two kinds of
//! `unsafe` code here: the call into code compiled for AVX2, made
//! only once the processor is known to have it, and unaligned loads through references to enough bytes.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi64, _mm_cvtsi128_si64, _mm_loadu_si128, _mm256_add_epi32,
    _mm256_add_epi64, _mm256_and_si256, _mm256_castsi256_si128, _mm256_loadu_si256,
    _mm256_mul_epu32, _mm256_or_si256, _mm256_permutevar8x32_epi32, _mm256_set_epi64x,
    _mm256_set_m128i, _mm256_set1_epi32, _mm256_setr_epi32, _mm256_shuffle_epi8,
    _mm256_shuffle_epi32, _mm256_sllv_epi32, _mm256_srli_epi64, _mm256_srlv_epi32,
    _mm256_xor_si256,
};

use super::lanes::{LANE_COUNT as GROUP_COUNT, Lane, Packet};

/// Hashes side by side.
const LANE_COUNT: usize = GROUP_COUNT / 2;

/// Proof that the processor has AVX2.
#[derive(Clone, Copy)]
pub(super) struct Kernel(());

impl Kernel {
    /// `None` on processors without AVX2.
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// HighwayHash-64 of every lane under one key.
    pub(super) fn hash(
        self,
        key: &[u64; 4],
        lanes: &[Lane<'_>; GROUP_COUNT],
    ) -> [u64; GROUP_COUNT] {
        let mut hashes = [0; GROUP_COUNT];
        let groups = lanes.as_chunks().0.iter();
        for (hashes, lanes) in hashes.as_chunks_mut().0.iter_mut().zip(groups) {
            // SAFETY: `hash` needs AVX2 and nothing else, and a `Kernel` exists only where `detect` found it.
            *hashes = unsafe { hash(key, lanes) };
        }
        hashes
    }
}

pub(super) const MUL0: [u64; 4] = [
    0xdbe6_d5d5_fe4c_ce2f,
    0xa409_3822_299f_31d0,
    0x1319_8a2e_0370_7344,
    0x243f_6a88_85a3_08d3,
];
pub(super) const MUL1: [u64; 4] = [
    0x3bd3_9e10_cb0e_f593,
    0xc0ac_f169_b5f1_8a8c,
    0xbe54_66cf_34e9_0c6c,
    0x4528_21e6_38d0_1377,
];

/// Row `n` keeps the first `n` 32-bit words of a packet.
static WORD_MASKS: [Packet; 8] = {
    let mut masks = [[0; 32]; 8];
    let mut row = 0;
    while row < 8 {
        let mut byte = 0;
        while byte < 4 * row {
            masks[row][byte] = u8::MAX;
            byte += 1;
        }
        row += 1;
    }
    masks
};

/// Where the last bytes of a remainder go: the fifth word of one below 16 bytes, else the eighth.
static LAST_PLACES: [Packet; 2] = {
    let mut places = [[0; 32]; 2];
    let mut byte = 0;
    while byte < 4 {
        places[0][16 + byte] = u8::MAX;
        places[1][28 + byte] = u8::MAX;
        byte += 1;
    }
    places
};

#[derive(Clone, Copy)]
struct State {
    v0: __m256i,
    v1: __m256i,
    mul0: __m256i,
    mul1: __m256i,
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(packet: &Packet) -> __m256i {
    // SAFETY: the reference covers the 32 bytes read, and this load has no alignment to keep.
    unsafe { _mm256_loadu_si256(packet.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_half(half: &[u8; 16]) -> __m128i {
    // SAFETY: the reference covers the 16 bytes read, and this load has no alignment to keep.
    unsafe { _mm_loadu_si128(half.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn join_halves((low, high): (&[u8; 16], &[u8; 16])) -> __m256i {
    _mm256_set_m128i(load_half(high), load_half(low))
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn words(words: [u64; 4]) -> __m256i {
    let [a, b, c, d] = words.map(u64::cast_signed);
    _mm256_set_epi64x(d, c, b, a)
}

/// Interleaves the bytes of each 64-bit pair so that low and high multiplication results mix.
#[inline]
#[target_feature(enable = "avx2")]
fn zipper(value: __m256i) -> __m256i {
    const LOW: i64 = 0x000f_010e_0502_0c03;
    const HIGH: i64 = 0x0708_0609_0d0a_040b;
    _mm256_shuffle_epi8(value, _mm256_set_epi64x(HIGH, LOW, HIGH, LOW))
}

#[inline]
#[target_feature(enable = "avx2")]
fn update(state: &mut State, packet: __m256i) {
    state.v1 = _mm256_add_epi64(state.v1, _mm256_add_epi64(packet, state.mul0));
    let product = _mm256_mul_epu32(state.v1, _mm256_srli_epi64::<32>(state.v0));
    state.mul0 = _mm256_xor_si256(state.mul0, product);
    state.v0 = _mm256_add_epi64(state.v0, state.mul1);
    let product = _mm256_mul_epu32(state.v0, _mm256_srli_epi64::<32>(state.v1));
    state.mul1 = _mm256_xor_si256(state.mul1, product);
    state.v0 = _mm256_add_epi64(state.v0, zipper(state.v1));
    state.v1 = _mm256_add_epi64(state.v1, zipper(state.v0));
}

/// The packet that stands for a remainder of 0 to 31 bytes: its whole words, and its last bytes in a place of their own.
///
/// Lengths follow no order that a processor could foresee, so nothing here depends on one by a branch.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn tail_packet(lane: &Lane<'_>) -> __m256i {
    let length = lane.tail_length;
    let whole_words = _mm256_and_si256(load(lane.tail), load(&WORD_MASKS[(length / 4) % 8]));
    let end = u32::from_le_bytes(*lane.tail_end);
    let is_long = length & 16 != 0;
    let last_bytes = if is_long { end } else { odd_bytes(end, length) };
    let place = load(&LAST_PLACES[usize::from(is_long)]);
    let last_bytes = _mm256_and_si256(_mm256_set1_epi32(last_bytes.cast_signed()), place);
    _mm256_or_si256(whole_words, last_bytes)
}

/// The one to three bytes behind the whole words, first, middle and last of them; `end` has the last four bytes of all.
#[inline]
fn odd_bytes(end: u32, length: usize) -> u32 {
    let count = (length % 4) as u32;
    // With none this is 0, and so is what is left of `end`.
    let odd = (u64::from(end) << (8 * count) >> 32) as u32;
    let first = odd & 0xFF;
    let middle = odd >> (8 * (count / 2)) & 0xFF;
    let last = if count == 0 { 0 } else { end >> 24 };
    first | middle << 8 | last << 16
}

#[inline]
#[target_feature(enable = "avx2")]
fn begin_tail(state: &mut State, length: usize) {
    let length = length as i32;
    let left = _mm256_set1_epi32(length);
    let low = _mm256_srlv_epi32(state.v1, _mm256_set1_epi32(32 - length));
    state.v0 = _mm256_add_epi32(state.v0, left);
    state.v1 = _mm256_or_si256(_mm256_sllv_epi32(state.v1, left), low);
}

#[inline]
#[target_feature(enable = "avx2")]
fn update_all(states: &mut [State; LANE_COUNT], packets: [__m256i; LANE_COUNT]) {
    for (state, packet) in states.iter_mut().zip(packets) {
        update(state, packet);
    }
}

/// Takes in packets of all lanes in step as far as the shortest goes, and then the rest lane by lane.
#[inline]
#[target_feature(enable = "avx2")]
fn update_packets(states: &mut [State; LANE_COUNT], [a, b, c, d]: [&[Packet]; LANE_COUNT]) {
    let common = a.len().min(b.len()).min(c.len()).min(d.len());
    let (a, a_rest) = a.split_at(common);
    let (b, b_rest) = b.split_at(common);
    let (c, c_rest) = c.split_at(common);
    let (d, d_rest) = d.split_at(common);
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        update_all(states, [load(a), load(b), load(c), load(d)]);
    }
    for (state, rest) in states.iter_mut().zip([a_rest, b_rest, c_rest, d_rest]) {
        for packet in rest {
            update(state, load(packet));
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn finish(mut states: [State; LANE_COUNT]) -> [u64; LANE_COUNT] {
    let crosswise = _mm256_setr_epi32(5, 4, 7, 6, 1, 0, 3, 2);
    for _ in 0..4 {
        for state in &mut states {
            update(state, _mm256_permutevar8x32_epi32(state.v0, crosswise));
        }
    }
    let mut hashes = [0; LANE_COUNT];
    for (hash, state) in hashes.iter_mut().zip(states) {
        let sum = _mm_add_epi64(
            _mm_add_epi64(
                _mm256_castsi256_si128(state.v0),
                _mm256_castsi256_si128(state.v1),
            ),
            _mm_add_epi64(
                _mm256_castsi256_si128(state.mul0),
                _mm256_castsi256_si128(state.mul1),
            ),
        );
        *hash = _mm_cvtsi128_si64(sum).cast_unsigned();
    }
    hashes
}

#[target_feature(enable = "avx2")]
fn hash(key: &[u64; 4], lanes: &[Lane<'_>; LANE_COUNT]) -> [u64; LANE_COUNT] {
    let (key, mul0, mul1) = (words(*key), words(MUL0), words(MUL1));
    // Swaps the halves of every 64-bit word.
    let rotated = _mm256_shuffle_epi32::<0b10_11_00_01>(key);
    let start = State {
        v0: _mm256_xor_si256(mul0, key),
        v1: _mm256_xor_si256(mul1, rotated),
        mul0,
        mul1,
    };
    let mut states = [start; LANE_COUNT];

    let [a, b, c, d] = lanes;
    if let (Some(a), Some(b), Some(c), Some(d)) = (a.first, b.first, c.first, d.first) {
        let packets = [
            join_halves(a),
            join_halves(b),
            join_halves(c),
            join_halves(d),
        ];
        update_all(&mut states, packets);
    } else {
        for (state, lane) in states.iter_mut().zip(lanes) {
            if let Some(halves) = lane.first {
                update(state, join_halves(halves));
            }
        }
    }
    if !(a.scratch.is_empty()
        && b.scratch.is_empty()
        && c.scratch.is_empty()
        && d.scratch.is_empty())
    {
        update_packets(&mut states, [a.scratch, b.scratch, c.scratch, d.scratch]);
    }
    update_packets(&mut states, [a.body, b.body, c.body, d.body]);
    if a.tail_length.min(b.tail_length) > 0 && c.tail_length.min(d.tail_length) > 0 {
        for (state, lane) in states.iter_mut().zip(lanes) {
            begin_tail(state, lane.tail_length);
        }
        let packets = [
            tail_packet(a),
            tail_packet(b),
            tail_packet(c),
            tail_packet(d),
        ];
        update_all(&mut states, packets);
    } else {
        for (state, lane) in states.iter_mut().zip(lanes) {
            if lane.tail_length > 0 {
                begin_tail(state, lane.tail_length);
                update(state, tail_packet(lane));
            }
        }
    }
    finish(states)
}
