//! The HighwayHash-64 update in AVX-512: two hashes a register, eight side by side.
//!
//! The only `unsafe` code here is the call into code compiled for AVX-512, made only once the processor is known to have it.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, __m512i, __mmask8, _mm_cvtsi128_si64, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_shuffle_epi32, _mm256_xor_si256, _mm512_add_epi32, _mm512_add_epi64,
    _mm512_broadcast_i64x4, _mm512_castsi256_si512, _mm512_castsi512_si128,
    _mm512_extracti32x4_epi32, _mm512_inserti64x4, _mm512_mask_mov_epi64, _mm512_mul_epu32,
    _mm512_permutexvar_epi32, _mm512_rolv_epi32, _mm512_set4_epi64, _mm512_setr_epi32,
    _mm512_shuffle_epi8, _mm512_srli_epi64, _mm512_xor_si512,
};

use super::avx2::{MUL0, MUL1, join_halves, load, tail_packet, words};
use super::lanes::{LANE_COUNT, Lane, PACKET_LENGTH, Packet};

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

/// Takes over from `new` the first hash, the second, both or none.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn keep(state: &mut State, new: &State, first: bool, second: bool) {
    // The first hash is in the lower four of eight words.
    let words: __mmask8 = (u8::from(first) * 0x0F) | (u8::from(second) * 0xF0);
    state.v0 = _mm512_mask_mov_epi64(state.v0, words, new.v0);
    state.v1 = _mm512_mask_mov_epi64(state.v1, words, new.v1);
    state.mul0 = _mm512_mask_mov_epi64(state.mul0, words, new.mul0);
    state.mul1 = _mm512_mask_mov_epi64(state.mul1, words, new.mul1);
}

/// Updates those hashes of a pair for which there is a packet.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn update_given(state: &mut State, low: Option<&Packet>, high: Option<&Packet>) {
    let (has_low, low) = given(low);
    let (has_high, high) = given(high);
    let mut new = *state;
    update(&mut new, pair(low, high));
    keep(state, &new, has_low, has_high);
}

/// A packet and whether there is one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn given(packet: Option<&Packet>) -> (bool, __m256i) {
    (
        packet.is_some(),
        load(packet.unwrap_or(&[0; PACKET_LENGTH])),
    )
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn update_all(states: &mut States, packets: [__m256i; LANE_COUNT]) {
    let [p, q, r, s] = states;
    let [a, b, c, d, e, f, g, h] = packets;
    update(p, pair(a, b));
    update(q, pair(c, d));
    update(r, pair(e, f));
    update(s, pair(g, h));
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

/// Takes in packets of all lanes in step: as far as the shortest goes at full speed, and from there on each as far as it goes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn update_packets(states: &mut States, [a, b, c, d, e, f, g, h]: [&[Packet]; LANE_COUNT]) {
    let lengths = [
        a.len(),
        b.len(),
        c.len(),
        d.len(),
        e.len(),
        f.len(),
        g.len(),
        h.len(),
    ];
    let (mut shortest, mut longest) = (usize::MAX, 0);
    for length in lengths {
        shortest = shortest.min(length);
        longest = longest.max(length);
    }
    let (a, a_rest) = a.split_at(shortest);
    let (b, b_rest) = b.split_at(shortest);
    let (c, c_rest) = c.split_at(shortest);
    let (d, d_rest) = d.split_at(shortest);
    let (e, e_rest) = e.split_at(shortest);
    let (f, f_rest) = f.split_at(shortest);
    let (g, g_rest) = g.split_at(shortest);
    let (h, h_rest) = h.split_at(shortest);
    let low = a.iter().zip(b).zip(c.iter().zip(d));
    let high = e.iter().zip(f).zip(g.iter().zip(h));
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
    let [p, q, r, s] = states;
    for at in 0..longest - shortest {
        update_given(p, a_rest.get(at), b_rest.get(at));
        update_given(q, c_rest.get(at), d_rest.get(at));
        update_given(r, e_rest.get(at), f_rest.get(at));
        update_given(s, g_rest.get(at), h_rest.get(at));
    }
}

/// Takes in the first packets, where a lane has one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn update_first(states: &mut States, lanes: &[Lane<'_>; LANE_COUNT]) {
    let [p, q, r, s] = states;
    let [a, b, c, d, e, f, g, h] = lanes;
    update_first_pair(p, a, b);
    update_first_pair(q, c, d);
    update_first_pair(r, e, f);
    update_first_pair(s, g, h);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn update_first_pair(state: &mut State, low: &Lane<'_>, high: &Lane<'_>) {
    const NONE: (&[u8; 16], &[u8; 16]) = (&[0; 16], &[0; 16]);
    let mut new = *state;
    let low_packet = join_halves(low.first.unwrap_or(NONE));
    let high_packet = join_halves(high.first.unwrap_or(NONE));
    update(&mut new, pair(low_packet, high_packet));
    keep(state, &new, low.first.is_some(), high.first.is_some());
}

/// Takes in the remainders, where a lane has one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn update_tails(states: &mut States, lanes: &[Lane<'_>; LANE_COUNT]) {
    let mut tails = [_mm256_setzero_si256(); LANE_COUNT];
    for (tail, lane) in tails.iter_mut().zip(lanes) {
        *tail = tail_packet(lane);
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    let mut new = *states;
    let [p, q, r, s] = &mut new;
    begin_tail(p, a.tail_length, b.tail_length);
    begin_tail(q, c.tail_length, d.tail_length);
    begin_tail(r, e.tail_length, f.tail_length);
    begin_tail(s, g.tail_length, h.tail_length);
    update_all(&mut new, tails);
    let [p, q, r, s] = states;
    let [new_p, new_q, new_r, new_s] = &new;
    keep(p, new_p, a.tail_length > 0, b.tail_length > 0);
    keep(q, new_q, c.tail_length > 0, d.tail_length > 0);
    keep(r, new_r, e.tail_length > 0, f.tail_length > 0);
    keep(s, new_s, g.tail_length > 0, h.tail_length > 0);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn finish(mut states: States) -> [u64; LANE_COUNT] {
    let crosswise = _mm512_setr_epi32(5, 4, 7, 6, 1, 0, 3, 2, 13, 12, 15, 14, 9, 8, 11, 10);
    let [p, q, r, s] = &mut states;
    for _ in 0..4 {
        update(p, _mm512_permutexvar_epi32(crosswise, p.v0));
        update(q, _mm512_permutexvar_epi32(crosswise, q.v0));
        update(r, _mm512_permutexvar_epi32(crosswise, r.v0));
        update(s, _mm512_permutexvar_epi32(crosswise, s.v0));
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
    let [a, b, c, d, e, f, g, h] = lanes;
    let scratch = [
        a.scratch, b.scratch, c.scratch, d.scratch, e.scratch, f.scratch, g.scratch, h.scratch,
    ];
    let bodies = [
        a.body, b.body, c.body, d.body, e.body, f.body, g.body, h.body,
    ];
    // One call in the code, so that it is made part of this and the states stay in registers.
    for packets in [scratch, bodies] {
        update_packets(&mut states, packets);
    }
    update_tails(&mut states, lanes);
    finish(states)
}
