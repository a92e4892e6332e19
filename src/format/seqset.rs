//! seqset
