//! schedule
/// placeholder
pub fn next_fire(_: &[u8], _: i64, _: i64) -> Option<i64> {
    None
}
/// placeholder
pub fn is_scheduled(_: &[u8], _: i64) -> bool {
    false
}
