//! The HighwayHash-64 update in AVX-512: two hashes a register, eight side by side.
//!
//! The only `unsafe` code here is the call into code compiled for AVX-512, made only once the processor is known to have it.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, __m512i, __mmask8, _mm_cvtsi128_si64, _mm256_set1_epi32, _mm256_shuffle_epi32,
    _mm256_xor_si256, _mm512_add_epi32, _mm512_add_epi64, _mm512_broadcast_i64x4,
    _mm512_castsi256_si512, _mm512_castsi512_si128, _mm512_extracti32x4_epi32, _mm512_inserti64x4,
    _mm512_mask_mov_epi64, _mm512_mul_epu32, _mm512_permutexvar_epi32, _mm512_rolv_epi32,
    _mm512_set4_epi64, _mm512_setr_epi32, _mm512_shuffle_epi8, _mm512_srli_epi64, _mm512_xor_si512,
};

use super::avx2::{MUL0, MUL1, join_halves, load, tail_packet, words};
use super::lanes::{LANE_COUNT, Lane, Packet};

/// Registers of two hashes each.
const PAIR_COUNT: usize = LANE_COUNT / 2;

/// Proof that the processor has what the kernel needs of AVX-512.
#[derive(Clone, Copy)]
pub(super) struct Kernel(());

impl Kernel {
    /// `None` on processors without it.
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"))
            .then_some(Self(()))
    }

    /// HighwayHash-64 of every lane under one key.
    pub(super) fn hash(self, key: &[u64; 4], lanes: &[Lane<'_>; LANE_COUNT]) -> [u64; LANE_COUNT] {
        // SAFETY: `hash` needs AVX-512F and AVX-512BW, and a `Kernel` exists only where `detect` found both.
        unsafe { hash(key, lanes) }
    }
}

/// Of a register's eight words those of its first hash, and those of its second.
const HALVES: [__mmask8; 2] = [0x0F, 0xF0];

/// Two hashes.
#[derive(Clone, Copy)]
struct State {
    v0: __m512i,
    v1: __m512i,
    mul0: __m512i,
    mul1: __m512i,
}

type States = [State; PAIR_COUNT];

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn pair(low: __m256i, high: __m256i) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// Interleaves the bytes of each 64-bit pair so that low and high multiplication results mix.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn zipper(value: __m512i) -> __m512i {
    const LOW: i64 = 0x000f_010e_0502_0c03;
    const HIGH: i64 = 0x0708_0609_0d0a_040b;
    _mm512_shuffle_epi8(value, _mm512_set4_epi64(HIGH, LOW, HIGH, LOW))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn update(state: &mut State, packet: __m512i) {
    state.v1 = _mm512_add_epi64(state.v1, _mm512_add_epi64(packet, state.mul0));
    let product = _mm512_mul_epu32(state.v1, _mm512_srli_epi64::<32>(state.v0));
    state.mul0 = _mm512_xor_si512(state.mul0, product);
    state.v0 = _mm512_add_epi64(state.v0, state.mul1);
    let product = _mm512_mul_epu32(state.v0, _mm512_srli_epi64::<32>(state.v1));
    state.mul1 = _mm512_xor_si512(state.mul1, product);
    state.v0 = _mm512_add_epi64(state.v0, zipper(state.v1));
    state.v1 = _mm512_add_epi64(state.v1, zipper(state.v0));
}

/// Takes over from `new` the hashes of `half`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn keep_half(state: &mut State, new: &State, half: __mmask8) {
    state.v0 = _mm512_mask_mov_epi64(state.v0, half, new.v0);
    state.v1 = _mm512_mask_mov_epi64(state.v1, half, new.v1);
    state.mul0 = _mm512_mask_mov_epi64(state.mul0, half, new.mul0);
    state.mul1 = _mm512_mask_mov_epi64(state.mul1, half, new.mul1);
}

/// Updates one hash of a pair.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn update_half(state: &mut State, packet: __m256i, half: __mmask8) {
    let mut new = *state;
    update(&mut new, _mm512_broadcast_i64x4(packet));
    keep_half(state, &new, half);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn update_all(states: &mut States, packets: [__m256i; LANE_COUNT]) {
    let [a, b, c, d, e, f, g, h] = packets;
    let packets = [pair(a, b), pair(c, d), pair(e, f), pair(g, h)];
    for (state, packet) in states.iter_mut().zip(packets) {
        update(state, packet);
    }
}

/// Begins with a remainder of so many bytes, one number a hash.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn begin_tail(state: &mut State, low_length: usize, high_length: usize) {
    let left = pair(
        _mm256_set1_epi32(low_length as i32),
        _mm256_set1_epi32(high_length as i32),
    );
    state.v0 = _mm512_add_epi32(state.v0, left);
    state.v1 = _mm512_rolv_epi32(state.v1, left);
}

/// Takes in packets of all lanes in step as far as the shortest goes, and then the rest lane by lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn update_packets(states: &mut States, packets: [&[Packet]; LANE_COUNT]) {
    let common = packets
        .iter()
        .map(|packets| packets.len())
        .min()
        .unwrap_or(0);
    let [a, b, c, d, e, f, g, h] = packets.map(|packets| packets.split_at(common));
    let low = a.0.iter().zip(b.0).zip(c.0.iter().zip(d.0));
    let high = e.0.iter().zip(f.0).zip(g.0.iter().zip(h.0));
    for (((a, b), (c, d)), ((e, f), (g, h))) in low.zip(high) {
        let packets = [
            load(a),
            load(b),
            load(c),
            load(d),
            load(e),
            load(f),
            load(g),
            load(h),
        ];
        update_all(states, packets);
    }
    let rests = [[a.1, b.1], [c.1, d.1], [e.1, f.1], [g.1, h.1]];
    for (state, rests) in states.iter_mut().zip(rests) {
        for (rest, half) in rests.into_iter().zip(HALVES) {
            for packet in rest {
                update_half(state, load(packet), half);
            }
        }
    }
}

/// Takes in the first packets, where a lane has one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn update_first(states: &mut States, lanes: &[Lane<'_>; LANE_COUNT]) {
    let [a, b, c, d, e, f, g, h] = lanes;
    if let (Some(a), Some(b), Some(c), Some(d)) = (a.first, b.first, c.first, d.first)
        && let (Some(e), Some(f), Some(g), Some(h)) = (e.first, f.first, g.first, h.first)
    {
        let packets = [
            join_halves(a),
            join_halves(b),
            join_halves(c),
            join_halves(d),
            join_halves(e),
            join_halves(f),
            join_halves(g),
            join_halves(h),
        ];
        update_all(states, packets);
        return;
    }
    for (state, lanes) in states.iter_mut().zip(lanes.as_chunks::<2>().0) {
        for (lane, half) in lanes.iter().zip(HALVES) {
            if let Some(halves) = lane.first {
                update_half(state, join_halves(halves), half);
            }
        }
    }
}

/// Takes in the remainders, where a lane has one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn update_tails(states: &mut States, lanes: &[Lane<'_>; LANE_COUNT]) {
    for (state, [low, high]) in states.iter_mut().zip(lanes.as_chunks::<2>().0) {
        let mut new = *state;
        begin_tail(&mut new, low.tail.len(), high.tail.len());
        match (low.tail.is_empty(), high.tail.is_empty()) {
            (true, true) => {}
            (false, false) => {
                update(&mut new, pair(tail_packet(low), tail_packet(high)));
                *state = new;
            }
            (low_is_empty, _) => {
                let (lane, half) = match low_is_empty {
                    true => (high, HALVES[1]),
                    false => (low, HALVES[0]),
                };
                update(&mut new, _mm512_broadcast_i64x4(tail_packet(lane)));
                keep_half(state, &new, half);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn finish(mut states: States) -> [u64; LANE_COUNT] {
    let crosswise = _mm512_setr_epi32(5, 4, 7, 6, 1, 0, 3, 2, 13, 12, 15, 14, 9, 8, 11, 10);
    for _ in 0..4 {
        for state in &mut states {
            update(state, _mm512_permutexvar_epi32(crosswise, state.v0));
        }
    }
    let mut hashes = [0; LANE_COUNT];
    for (pair, state) in hashes.as_chunks_mut::<2>().0.iter_mut().zip(states) {
        let sum = _mm512_add_epi64(
            _mm512_add_epi64(state.v0, state.v1),
            _mm512_add_epi64(state.mul0, state.mul1),
        );
        *pair = [
            _mm_cvtsi128_si64(_mm512_castsi512_si128(sum)).cast_unsigned(),
            _mm_cvtsi128_si64(_mm512_extracti32x4_epi32::<2>(sum)).cast_unsigned(),
        ];
    }
    hashes
}

#[target_feature(enable = "avx512f,avx512bw")]
fn hash(key: &[u64; 4], lanes: &[Lane<'_>; LANE_COUNT]) -> [u64; LANE_COUNT] {
    let (key, mul0, mul1) = (words(*key), words(MUL0), words(MUL1));
    // Swaps the halves of every 64-bit word.
    let rotated = _mm256_shuffle_epi32::<0b10_11_00_01>(key);
    let start = State {
        v0: _mm512_broadcast_i64x4(_mm256_xor_si256(mul0, key)),
        v1: _mm512_broadcast_i64x4(_mm256_xor_si256(mul1, rotated)),
        mul0: _mm512_broadcast_i64x4(mul0),
        mul1: _mm512_broadcast_i64x4(mul1),
    };
    let mut states = [start; PAIR_COUNT];
    update_first(&mut states, lanes);
    if lanes.iter().any(|lane| !lane.scratch.is_empty()) {
        update_packets(&mut states, lanes.map(|lane| lane.scratch));
    }
    update_packets(&mut states, lanes.map(|lane| lane.body));
    update_tails(&mut states, lanes);
    finish(states)
}
