//! Files beside each block that old releases wrote: [`idx`] and [`fss`].
//!
//! Source: file format reference, section 10. No release since 2.10 writes them, but an `.idx` still decides what an
//! upgraded store holds.

pub mod fss;
pub mod idx;
