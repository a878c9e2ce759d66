//! x
pub fn man() -> String {
    String::new()
}
