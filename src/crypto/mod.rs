//! Keys and ciphers: byte slices in, bytes out.
