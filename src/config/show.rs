//! x
pub fn show(_: &super::Loaded) -> String {
    String::new()
}
