//! varint
